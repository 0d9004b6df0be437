"""The publish job: hand lists, neighbours and attributes to the shop's systems.

spark-submit jobs/publish.py --conf FILE [--set a.b=c]
"""

from vlm4rec_spark.cli import run_job

if __name__ == "__main__":
    run_job("publish")
