"""From raw results to a table, the bars that are held or missed, and a chart."""

import statistics

import scenarios

# (name, scenario, what is computed, limit, unit). `ratio P`: weir's CPU per request over P's in the same run.
BARS = [
    ("HTTP/1 100 B against Envoy", "a", ("ratio", "envoy"), 0.37, "x"),
    ("HTTP/1 100 B against HAProxy", "a", ("ratio", "haproxy"), 0.92, "x"),
    ("HTTP/1 100 B resident memory", "a", ("value", "rss_mb"), 16.0, "MiB"),
    ("HTTP/1 16 KiB against Envoy", "b", ("ratio", "envoy"), 0.40, "x"),
    ("HTTP/1 16 KiB against HAProxy", "b", ("ratio", "haproxy"), 0.75, "x"),
    ("HTTP/1 1 MiB against Envoy", "c", ("ratio", "envoy"), 0.75, "x"),
    ("HTTP/2 c8 m32 against Envoy", "d", ("ratio", "envoy"), 0.36, "x"),
    ("TCP 1 MiB against Envoy", "g", ("ratio", "envoy"), 0.80, "x"),
    ("idle connection", "h", ("value", "kib_per_connection"), 3.5, "KiB"),
    ("p99 HTTP/1 100 B at a rate, against Envoy", "ar", ("p99", "envoy"), 1.0, "x"),
    ("p99 HTTP/1 16 KiB at a rate, against Envoy", "br", ("p99", "envoy"), 1.0, "x"),
    ("p99 HTTP/2 at a rate, against Envoy", "dr", ("p99", "envoy"), 1.0, "x"),
    ("access log, cost of a request", "log", ("above", "a"), 1.5, "us"),
    ("1000 clients that do not read", "unread", ("value", "peak_mb"), 64.0, "MiB"),
] + [
    (f"{kind}, 10,000 against 1", f"{kind}-10000", ("grown", f"{kind}-1"), 0.6, "us (or 15 %)")
    for kind in ("vhosts", "prefix", "path")
]
# A table may cost this share more instead.
GROWN_SHARE = 0.15


def median(results, scenario, proxy, field):
    """Median over the repetitions; None when there is none."""
    values = [r[field] for r in results if r["scenario"] == scenario and r["proxy"] == proxy and field in r]
    return statistics.median(values) if values else None


def bar_value(results, scenario, rule):
    """The bar's figure, or None when a part of it was not measured."""
    how, operand = rule
    if how == "value":
        return median(results, scenario, "weir", operand)
    field = "p99_us" if how == "p99" else "cpu_us"
    own = median(results, scenario, "weir", field)
    if how in ("above", "grown"):
        base = median(results, operand, "weir", field)
        if own is None or base is None:
            return None
        # Within the share a growth counts as none.
        return 0.0 if how == "grown" and own <= base * (1 + GROWN_SHARE) else own - base
    base = median(results, scenario, operand, field)
    return None if own is None or not base else own / base


def bars(results):
    """(name, figure, limit, unit, held) for every bar all of whose parts were measured."""
    out = []
    for name, scenario, rule, limit, unit in BARS:
        figure = bar_value(results, scenario, rule)
        if figure is not None:
            out.append((name, figure, limit, unit, figure <= limit))
    return out


def cell(value, digits=1):
    """A number, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def table(results):
    """One line a scenario and proxy, medians with the range of the CPU figure."""
    head = f"{'':7}{'proxy':9}{'CPU us/request [range]':>28}{'requests/s':>12}{'p50 us':>10}{'p99 us':>10}{'RSS MiB':>9}"
    lines = [head]
    for scenario in dict.fromkeys(r["scenario"] for r in results):
        lines.append(f"{scenario:14}{scenarios.SCENARIOS[scenario].title}")
        mine = [r for r in results if r["scenario"] == scenario]
        for proxy in dict.fromkeys(r["proxy"] for r in mine):
            get = lambda field: median(results, scenario, proxy, field)
            cpu = [r["cpu_us"] for r in mine if r["proxy"] == proxy]
            extra = "".join(
                f"  {cell(get(field), 2)} {unit}"
                for field, unit in (("kib_per_connection", "KiB/connection"), ("peak_mb", "MiB at the peak"))
                if get(field) is not None
            )
            noisy = get("others_on_core") or 0
            extra += f"  (others on the core: {noisy:.2f})" if noisy > 0.2 else ""
            shown = f"{statistics.median(cpu):.2f} [{min(cpu):.2f}-{max(cpu):.2f}]"
            lines.append(
                f"{'':7}{proxy:9}{shown:>28}{cell(get('rps'), 0):>12}{cell(get('p50_us'), 0):>10}"
                f"{cell(get('p99_us'), 0):>10}{cell(get('rss_mb')):>9}{extra}"
            )
    return "\n".join(lines)


COLOURS = {"weir": "#1f7a5c", "envoy": "#b0457a", "haproxy": "#4a6fa5", "nginx": "#8a8a5c"}
WIDTH, LABEL, ROW = 900, 330, 18


def chart(results):
    """An SVG of CPU per request, each scenario scaled to its most expensive proxy."""
    parts, y = [], 30
    for scenario in dict.fromkeys(r["scenario"] for r in results):
        mine = dict.fromkeys(r["proxy"] for r in results if r["scenario"] == scenario)
        rows = [(proxy, median(results, scenario, proxy, "cpu_us")) for proxy in mine]
        rows = [(proxy, value) for proxy, value in rows if value]
        if not rows:
            continue
        title = scenarios.SCENARIOS[scenario].title
        parts.append(f'<text x="10" y="{y + 13}" font-weight="bold">{scenario}: {title}</text>')
        top = max(value for _, value in rows)
        for proxy, value in rows:
            y += ROW
            width = (WIDTH - LABEL - 90) * value / top
            parts.append(f'<text x="{LABEL - 90}" y="{y + 13}">{proxy}</text>')
            parts.append(
                f'<rect x="{LABEL}" y="{y + 2}" width="{width:.1f}" height="{ROW - 4}" fill="{COLOURS.get(proxy, "#777")}"/>'
            )
            parts.append(f'<text x="{LABEL + width + 6:.1f}" y="{y + 13}">{value:.1f}</text>')
        y += ROW + 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 10}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="10" y="18" font-size="14">CPU microseconds per request, one core (less is better)</text>'
        + "".join(parts)
        + "</svg>\n"
    )
