"""How the demo model was trained: from scratch, on rendered pictures only, on two CPU cores.

`python -m vlm4rec_spark.demo.training.train` draws the pictures, trains the vision tower, then the
language model on the frozen tower, writes `demo/model`, measures it and writes the model card.
"""
