"""The recommend job: make profiles and top-k lists.

spark-submit jobs/recommend.py --conf FILE [--set a.b=c]
"""

from vlm4rec_spark.cli import run_job

if __name__ == "__main__":
    run_job("recommend")
