import sys, cProfile, pstats, time, resource
from pathlib import Path
from tests.bench.exports import make_log
from tests.exports.exporting import opened, selected
from cds_service.exports.formats import FORMATS
from tests.core import NOW

p = Path("/tmp/exports_bench")
if not p.exists():
    p.mkdir()
    make_log(p, 5000)
with opened(p / "alerts.sqlite3") as db:
    for name in sys.argv[1:]:
        sel = selected(db)
        c = time.process_time()
        pr = cProfile.Profile() if "-p" in name else None
        n = 0
        if pr:
            pr.enable()
        for chunk, k in FORMATS[name.replace("-p", "")].open(db, sel, NOW):
            n += k
        if pr:
            pr.disable()
        c = time.process_time() - c
        print(name, n, f"{n / c:.0f} rows per cpu s")
        if pr:
            pstats.Stats(pr).sort_stats("tottime").print_stats(18)
