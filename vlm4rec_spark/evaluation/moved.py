"""Spaces made from others for the options of profiles: centred, whitened, with knobs on facets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from vlm4rec_spark.evaluation.catalogue import save_array
from vlm4rec_spark.topk.centring import PLAIN
from vlm4rec_spark.topk.moving import moved

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from vlm4rec_spark.evaluation.catalogue import Catalogue
    from vlm4rec_spark.topk.centring import Space


@dataclass
class MovedSpaces:
    """Writes each space beside the one it is made from, once."""

    catalogue: Catalogue
    words: Callable[[], pa.MapArray]
    """Reads the described attributes of each item of the catalogue; asked for facets alone."""
    made: set[str] = field(default_factory=set)
    """Spaces written so far."""

    def name(self, origin: str, space: Space) -> str:
        """Return the name of a space of the catalogue, moved; it is there then."""
        if space == PLAIN:
            return origin
        knobs = (f"{quote(facet, safe='')}{factor}" for facet, factor in space.facets)
        name = "-".join((origin, space.kind, *knobs))
        if name not in self.made:
            vectors = moved(self.catalogue.space(origin), space, self.words).vectors
            save_array(self.catalogue.folder, f"space-{name}", vectors)
            self.made.add(name)
        return name
