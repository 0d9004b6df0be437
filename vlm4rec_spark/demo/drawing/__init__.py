"""How a synthetic product is drawn: the outline of each type, patterns and materials."""

from vlm4rec_spark.demo.drawing.accessories import ACCESSORIES
from vlm4rec_spark.demo.drawing.clothes import CLOTHES
from vlm4rec_spark.demo.drawing.home import HOME

OUTLINES = {**CLOTHES, **ACCESSORIES, **HOME}
"""Type -> function (sketch, product) that adds the parts of the product to the sketch."""

__all__ = ["OUTLINES"]
