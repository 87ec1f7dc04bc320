"""The ladder: what anything simpler would have done with the same bundle's tables, each as an engine of its own.

never         leaves every request alone
next_success  what people most often said next that worked
edit          the nearest known-good request by letters
bm25          the nearest by words
embedding     the nearest by meaning, with the packaged MiniLM
chain         the chain's best candidate, without gate and guards

Each begins with the same two rules as any rewriter: an empty request and one that is known to work are left alone.
Thresholds are stated in the files and in the report; none was fitted to the cases that are judged.
"""
