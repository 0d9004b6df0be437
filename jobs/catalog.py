"""The catalog job: ingest, describe and embed what is new.

spark-submit jobs/catalog.py --conf FILE [--set a.b=c]
"""

from vlm4rec_spark.cli import run_job

if __name__ == "__main__":
    run_job("catalog")
