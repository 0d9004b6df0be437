"""The configuration of lists: what may stand in them, and how they are arranged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from vlm4rec_spark.config_inputs import Model, Positive, Share, Text
from vlm4rec_spark.places import local_folder


class Promotion(Model):
    """Places kept for some items."""

    rule: Text
    """Condition, as in `topk.rules`."""
    share: Share
    """Part of the places of every list."""


class NewItems(Model):
    """Places kept for new items."""

    days: Annotated[float, Field(gt=0)] = 14.0
    """Days since `first_seen` for which an item is new."""
    share: Share = 0.1
    """Part of the places of every list."""


class Business(Model):
    """What the shop gains by an item, blended into its score."""

    column: Text
    """`price`, or `source.NAME` for a further column of the items; scaled to 0..1."""
    weight: Share
    """Value = (1 - weight) x cosine + weight x business."""


class RerankConfig(Model):
    """How a list is arranged from its candidates."""

    one_per_variant: bool = False
    """One item of a variant group."""
    near_equal: Annotated[float, Field(gt=0, le=1)] | None = None
    """Cosine from which two items count as one; null: never."""
    caps: dict[Literal["brand", "category"], Positive] = Field(default_factory=dict)
    """Items of one brand or category in a list at most."""
    mmr: Share = 1.0
    """Lambda of maximal marginal relevance; 1 is relevance alone."""
    pins: dict[Text, Positive] = Field(default_factory=dict)
    """Item id: the rank it has in every list of someone who may be given it."""
    promote: tuple[Promotion, ...] = ()
    """Shares of the places kept for items that meet a rule."""
    new_items: NewItems | None = None
    """Share of the places kept for new items."""
    business: Business | None = None
    """Margin, stock or the like."""

    @model_validator(mode="after")
    def _shares_fit(self) -> RerankConfig:
        shares = [promotion.share for promotion in self.promote]
        shares += [self.new_items.share] if self.new_items else []
        if sum(shares) > 1:
            raise ValueError(f"the shares of promote and new_items add up to {sum(shares):g} > 1")
        if len(set(self.pins.values())) < len(self.pins):
            raise ValueError("two pins have the same rank")
        return self


class ReasonsConfig(Model):
    """How much of each score is explained."""

    items: Annotated[int, Field(ge=0)] = 3
    """Items of the history named with their share, at most."""
    words: Annotated[int, Field(ge=0)] = 4
    """Attribute words of the listed item named with their share, at most."""


class TopkConfig(Model):
    """How lists are made."""

    k: Positive = 100
    """Length of a list."""
    engine: Literal["scann", "auto", "list_major", "exact"] = "scann"
    """auto is the cheapest by an estimate that is logged."""
    recall_target: Share = 0.99
    """Search is tuned to this recall on sampled users; the job fails under it on others. 1 is exact
    search whatever the engine: no other finds everything for users who are in no sample, too."""
    shards: Positive = 1
    """Parts of the item matrix for machines that cannot hold it: each is searched by tasks of its
    own, and one shuffle by user brings together what they find. The lists are the same. What is
    made for `refresh: changed`, complements and searches use the whole matrix."""
    audit_users: Positive = 200
    """Users whose lists are compared with exact search; as many others tune the search."""
    mask_events: tuple[Text, ...] | None = None
    """Event types that count as seen; null counts all."""
    rules: tuple[Text, ...] = ()
    """SQL conditions that every listed item meets."""
    user_rules: dict[str, Text] = Field(default_factory=dict)
    """Segment of users: a further condition for their lists."""
    allow: tuple[Text, ...] | None = None
    """Ids of the only items that may be listed; null: all."""
    deny: tuple[Text, ...] = ()
    """Ids of items that are never listed."""
    rerank: RerankConfig = RerankConfig()
    """Variants, caps, diversity, pins, promotions, business value."""
    reasons: ReasonsConfig = ReasonsConfig()
    """Shares of the score in `history_shares` and `attribute_shares`."""
    similar_k: Annotated[int, Field(ge=0)] = 20
    """Similar items per item."""
    complements_k: Annotated[int, Field(ge=0)] = 12
    """Items that complete an item, where the attribute file has an `outfit`; 0: none."""
    refresh: Literal["full", "changed"] = "full"
    """full makes every list anew; changed only those that new events or items can change."""
    rebuild_above: Share = 0.3
    """Part of the users or items that changed, above which `changed` makes everything anew."""
    index_path: Annotated[Text, AfterValidator(local_folder)] = "vlm4rec-index"
    """Folder, shared by all workers, for the item matrix and the index files: local or mounted, for
    they are mapped into memory."""

    @property
    def with_scann(self) -> bool:
        """Whether ScaNN searches, and needs its index."""
        return self.engine == "scann" and self.recall_target < 1

    @model_validator(mode="after")
    def _shards_can_be_searched(self) -> TopkConfig:
        if self.shards > 1 and self.engine == "scann":
            raise ValueError(
                "scann keeps its whole index in every process; with shards above 1 the engine is "
                "auto, list_major or exact"
            )
        return self
