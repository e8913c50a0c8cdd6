"Every fusion gives the scores that ranx gives, on random runs that share some documents and not others"
import json, os, subprocess, sys
import numpy as np, pytest
from rankwb.core.runs import Run
from rankwb.retrieval.fusion import combanz, combmax, combmed, combmin, combmnz, combsum, isr, rrf

pytest.importorskip('ranx', reason="ranx is the authority here: pip install 'rankwb[dev]'")
scales = {'min-max':'min-max', 'max':'max', 'sum':'sum', 'z-score':'zmuv', 'rank':'rank'}
cases = {**{f'{f.__name__} {n}': (f, dict(norm=n), dict(method=f.__name__.removeprefix('comb'), norm=m))
            for f in (combsum,combmnz,combanz,combmin,combmax,combmed) for n,m in scales.items()},
         **{f'rrf {k}': (rrf, dict(k=k), dict(method='rrf', norm=None, params=dict(k=k))) for k in (1,60)},
         'isr': (isr, {}, dict(method='isr', norm=None)),
         'wsum': (combsum, dict(weights=(.2,.3,.5)), dict(method='wsum', norm='min-max', params=dict(weights=(.2,.3,.5))))}

# ranx compiles for a minute; as plain Python it gives the same numbers at once
theirs = '''
import json, sys
from ranx import Run, fuse
runs,calls = json.load(sys.stdin)
print(json.dumps([fuse([Run(r) for r in runs], **c).run for c in calls], default=dict))
'''

@pytest.fixture(scope='module')
def runs():
    rng = np.random.default_rng(1)
    draw = lambda: {f'd{d}': float(s) for d,s in zip(rng.choice(40, 15, replace=False), rng.normal(5, 3, 15).astype(np.float32))}
    return [Run.from_dict({f'q{i}': draw() for i in range(6)}) for _ in range(3)]

@pytest.fixture(scope='module')
def expected(runs):
    given = json.dumps([[r.to_dict() for r in runs], [c for *_,c in cases.values()]])
    out = subprocess.run([sys.executable, '-c', theirs], input=given, capture_output=True, text=True, env={**os.environ, 'NUMBA_DISABLE_JIT':'1'})
    assert out.returncode==0, out.stderr
    return dict(zip(cases, json.loads(out.stdout.splitlines()[-1])))

@pytest.mark.parametrize('case', cases)
def test_equals_ranx(case, runs, expected):
    fuse,kw,_ = cases[case]
    for r in fuse(*runs, **kw):
        assert set(r.ids)==set(expected[case][r.query_id])
        np.testing.assert_allclose(r.scores, [expected[case][r.query_id][d] for d in r.ids], rtol=1e-5, atol=1e-6)
