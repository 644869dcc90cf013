"""A benchmark run: cases, answers and prices as columns, and the folder that keeps them.

Live runs and imported recordings have one format; everything a figure needs is in the folder:

``manifest.json``
    format version, name, prices, where it came from, the import report.
``cases.jsonl``
    one object a case: ``case_id``, ``task_kind``, ``options``, the gold (``label``, or ``credits``:
    option → share of a right answer), and whatever else the source had.
``answers.jsonl`` (or ``answers.jsonl.gz``)
    one object an answer. Lines, because a live run appends and may be killed: a torn last line
    costs that line. Imported runs are written once and compressed.

An answer line: ``case``, ``model``, ``variant``, ``sample``, ``answer`` (option → share of the
vote, or one option's name, or null for a failure), ``failure`` (its class), ``scores`` (a number or
null for each option), ``confidence``, ``prompt_tokens``, ``completion_tokens``, ``cost_usd``,
``latency_s``, ``served_model``, ``extra`` (name → number). Missing keys are null.
"""
