"""How ballots are obtained, and what follows from them.

One file an orchestrator (async, spends money); ``concluding`` is pure and shared by the engine, by
replay and by the benchmark.
"""
