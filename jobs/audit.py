"""The audit: neighbours by picture, title, words and shoppers side by side; writes audit.html.

spark-submit jobs/audit.py --conf FILE [--set a.b=c]
"""

from vlm4rec_spark.cli import run_job

if __name__ == "__main__":
    run_job("audit")
