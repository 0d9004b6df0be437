"""The configuration of `vlm4rec evaluate` and `vlm4rec audit`."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from vlm4rec_spark.config_inputs import Facets, Model, Positive, Share, Source, Text

ArmName = Literal[
    "caption",
    "title",
    "title_caption",
    "attributes",
    "catalog",
    "misaligned",
    "shuffled",
    "random",
    "popular",
    "recent_popular",
    "item_knn",
    "ease",
    "smoothed",
    "visual",
    "concat",
    "weighted",
    "rank_fusion",
]
DEFAULT_ARMS: tuple[ArmName, ...] = get_args(ArmName)


def _in_utc(moment: datetime) -> datetime:
    """Read a moment without a time zone as UTC, wherever the driver stands."""
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


class SplitConfig(Model):
    """What is test and what is training."""

    kind: Literal["time", "cold_item", "last_n"] = "time"
    """time: everything after the cut is test. cold_item: of that, items without an event before
    the cut. last_n: the last events of every user; leaks what others did later."""
    cut: Annotated[datetime, AfterValidator(_in_utc)] | None = None
    """First moment of the test; null: the midnight that leaves about `test_share` after it."""
    test_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Share of the events after the cut, where `cut` is null."""
    n: Positive = 1
    """Relevant events of each user that are test (last_n)."""


class ArmColumns(Model):
    """Which column holds what; those the arm does not need are not read."""

    item_id: Text = "item_id"
    """Id of the item, as in the catalogue."""
    user_id: Text = "user_id"
    """Id of the user, as in the interactions (lists)."""
    rank: Text = "rank"
    """Place in the list, 1 is the best (lists)."""
    text: Text = "text"
    """What is embedded (texts)."""
    vector: Text = "vector"
    """Array of numbers (vectors)."""


class ArmSource(Source):
    """An arm of your own: lists of another tool, texts for our encoder, or ready vectors."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """Name in tables and reports."""
    holds: Literal["lists", "texts", "vectors"]
    """lists: user_id, item_id, rank, made from the training part alone. texts: item_id, text.
    vectors: item_id, vector."""
    layout: Literal["table", "trec", "wide"] = "table"
    """How lists lie in the source. table: a row per place, also RecBole's `user_id:token`. trec: a
    run file, `user Q0 item rank score tag`. wide: a row per user, `id, top_0 ...`, as MMRec's."""
    columns: ArmColumns = ArmColumns()
    """Column mapping."""

    @model_validator(mode="after")
    def _layout_of_lists(self) -> ArmSource:
        if self.layout != "table" and self.holds != "lists":
            raise ValueError(f"layout {self.layout} is for lists, this source holds {self.holds}")
        return self


class ProfileChange(Model):
    """What an arm changes of `profiles`; null leaves it."""

    half_life_days: Annotated[float, Field(gt=0)] | None = None
    """Days after which an event counts half."""
    max_history: Positive | None = None
    """Newest items that count."""
    events: dict[str, Annotated[float, Field(allow_inf_nan=False)]] | None = None
    """Weight of each event type; a negative one subtracts."""
    interests: Annotated[int, Field(ge=1, le=8)] | None = None
    """Interests of a user at most."""
    fusion: Literal["mean", "max", "softmax"] | None = None
    """How the items of a history come together."""
    temperature: Annotated[float, Field(gt=0)] | None = None
    """Of softmax."""
    centre: bool | None = None
    """Subtract the catalogue's mean vector."""
    whiten: bool | None = None
    """Make all directions count alike."""
    facets: Facets | None = None
    """Described attribute: how much it counts; {} takes away what the profiles ask for."""


class EvaluateConfig(Model):
    """How arms are compared."""

    split: SplitConfig = SplitConfig()
    """What is test and what is training."""
    k: Positive = 10
    """Length of the lists."""
    relevant_events: tuple[Text, ...] | None = None
    """Event types that a list should have foreseen; null: all that count in a profile."""
    arms: tuple[ArmName, ...] = DEFAULT_ARMS
    """What is compared."""
    profile_arms: dict[Text, ProfileChange] = Field(default_factory=dict)
    """Name -> changed profile options, over the vectors of `embed.serve_space`."""
    sources: tuple[ArmSource, ...] = ()
    """Arms of your own."""
    misaligned_schema: Text | None = None
    """Where the catalog job ran with a prompt about something else (`tables.schema` of a run with
    `describe.attributes=photograph`): what it says is the arm `misaligned`. Null: the arm is a text
    about the picture's file, which costs no request."""
    baseline: Text = "title"
    """Arm that differences are taken to."""
    resamples: Annotated[int, Field(ge=100)] = 10_000
    """Draws of the bootstrap."""
    validation_share: Share = 0.2
    """Share of the training events that hyper-parameters are chosen on; never the test."""
    seed: int = 0
    """Seed of random vectors, shuffling and the bootstrap."""
    report: Text = "vlm4rec-evaluation"
    """Folder on the driver for report.html and report.md."""
    note: Text | None = None
    """Said at the top of the report, for example where the data come from."""

    @model_validator(mode="after")
    def _names_differ(self) -> EvaluateConfig:
        names = self.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two arms are called {', '.join(twice)}")
        if self.baseline not in names:
            raise ValueError(f"baseline '{self.baseline}' must be one of the arms")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all arms in order."""
        return (*self.arms, *self.profile_arms, *(source.name for source in self.sources))


class AuditConfig(Model):
    """How neighbourhoods and descriptions are looked at."""

    k: Positive = 8
    """Neighbours of an item that are compared and shown."""
    most_items: Positive = 20_000
    """Items taken into the audit; of a larger catalogue a fixed random part."""
    probes: Positive = 500
    """Items whose neighbours are compared between spaces."""
    shown: Positive = 60
    """Of these, how many are shown with their pictures; where spaces disagree most comes first."""
    facts: tuple[Text, ...] = ("colour", "color", "material")
    """Described attributes that are held against what title and catalogue say."""
    report: Text = "vlm4rec-audit"
    """Folder on the driver for audit.html."""
    note: Text | None = None
    """Said at the top of the page."""
