//! Rows of the delta dialect.

use super::Do::{Connect, Get, Judge, Later, Lose, Restore, Take, Ttl, Want};
use super::Row;
use weir_xds::{CLUSTER, ENDPOINTS};

pub(super) static ROWS: &[Row] = &[
    (
        "a wildcard type is asked for without names, a named one not before it is wanted",
        &[Connect, Want("a b")],
        &["CDS node", "EDS +a,b"],
    ),
    (
        "an accepted response is acknowledged by its nonce; a change of names is a message of its own",
        &[Connect, Take(&CLUSTER, "1", "a=1", ""), Want("a"), Want("b")],
        &["CDS node", "  CDS +a", "CDS nonce n1", "EDS +a", "  unwanted a", "EDS +b -a"],
    ),
    (
        "what is refused is named, and its version is not claimed at the next stream",
        &[Connect, Get(&CLUSTER, "1", "a=1 b=1", ""), Judge("b"), Lose, Connect],
        &[
            "CDS node",
            "  CDS +a,b",
            "CDS nonce n1 error 1 of 2 resources refused, the others are in force; b: bad",
            "CDS node known a=1,b=",
        ],
    ),
    (
        "of a changed resource that is refused the version before is claimed",
        &[Connect, Take(&CLUSTER, "1", "a=1", ""), Get(&CLUSTER, "2", "a=2", ""), Judge("a"), Lose, Connect],
        &[
            "CDS node",
            "  CDS +a",
            "CDS nonce n1",
            "  CDS +a",
            "CDS nonce n2 error 1 of 1 resources refused, the others are in force; a: bad",
            "CDS node known a=1",
        ],
    ),
    (
        "what an earlier life knew is claimed with no server's version, and goes when the server says so",
        &[Restore("a b"), Connect, Take(&CLUSTER, "1", "a=1", "b"), Lose, Connect],
        &["CDS node known a=last-good,b=last-good", "  CDS +a -b", "CDS nonce n1", "CDS node known a=1"],
    ),
    (
        "a removal is one of a known name only; of a named type it says that there is none",
        &[
            Connect,
            Want("s"),
            Take(&CLUSTER, "1", "a=1", ""),
            Take(&CLUSTER, "2", "", "a z"),
            Take(&ENDPOINTS, "3", "", "s t"),
        ],
        &[
            "CDS node",
            "EDS +s",
            "  CDS +a",
            "CDS nonce n1",
            "  CDS -a",
            "CDS nonce n2",
            "  EDS missing s",
            "EDS nonce n3",
        ],
    ),
    (
        "names that were not asked for are left out",
        &[Connect, Want("a"), Take(&ENDPOINTS, "1", "a=1 x=1", "")],
        &["CDS node", "EDS +a", "  EDS +a", "EDS nonce n1"],
    ),
    (
        "a type that nobody asked for gets no answer",
        &[Connect, Take(&weir_xds::LISTENER, "1", "a", "")],
        &["CDS node", "  nobody asked"],
    ),
    (
        "a stream that comes back claims what is known, and only what is wanted",
        &[Connect, Want("a b"), Take(&ENDPOINTS, "1", "a=1 b=7", ""), Lose, Want("b"), Connect],
        &[
            "CDS node",
            "EDS +a,b",
            "  EDS +a,b",
            "EDS nonce n1",
            "  unwanted a",
            "CDS node",
            "EDS +b known b=7",
        ],
    ),
    (
        "a resource with a TTL ends; a heartbeat keeps it",
        &[
            Connect,
            Ttl(&CLUSTER, "a", 60),
            Judge(""),
            Later(50),
            Ttl(&CLUSTER, "a", 0),
            Judge(""),
            Later(50),
            Later(11),
        ],
        &["CDS node", "  CDS +a", "CDS nonce nt", "  CDS", "CDS nonce nt", "  CDS -a"],
    ),
    (
        "bytes that are in force are recognised, also over streams; their version is taken over",
        &[Connect, Take(&CLUSTER, "1", "a=1 b=1", ""), Lose, Connect, Take(&CLUSTER, "2", "a=1 b=2", "")],
        &[
            "CDS node",
            "  CDS +a,b",
            "CDS nonce n1",
            "CDS node known a=1,b=1",
            "  CDS +b 1 the same",
            "CDS nonce n2",
        ],
    ),
    (
        "after a refusal the bytes before are judged again",
        &[
            Connect,
            Take(&CLUSTER, "1", "a=1", ""),
            Get(&CLUSTER, "2", "a=2", ""),
            Judge("a"),
            Take(&CLUSTER, "3", "a=1", ""),
            Take(&CLUSTER, "4", "a=1", ""),
        ],
        &[
            "CDS node",
            "  CDS +a",
            "CDS nonce n1",
            "  CDS +a",
            "CDS nonce n2 error 1 of 1 resources refused, the others are in force; a: bad",
            "  CDS +a",
            "CDS nonce n3",
            "  CDS 1 the same",
            "CDS nonce n4",
        ],
    ),
    (
        "what was gone and comes back is new",
        &[
            Connect,
            Want("s"),
            Take(&ENDPOINTS, "1", "s=1", ""),
            Take(&ENDPOINTS, "2", "", "s"),
            Take(&ENDPOINTS, "3", "s=1", ""),
        ],
        &[
            "CDS node",
            "EDS +s",
            "  EDS +s",
            "EDS nonce n1",
            "  EDS missing s",
            "EDS nonce n2",
            "  EDS +s",
            "EDS nonce n3",
        ],
    ),
    (
        "a known name that comes twice in one response is refused",
        &[Connect, Take(&CLUSTER, "1", "a=1", ""), Take(&CLUSTER, "2", "a=1 a=2", "")],
        &[
            "CDS node",
            "  CDS +a",
            "CDS nonce n1",
            "  CDS 1 the same refused a (name: 'a' comes twice in one response)",
            "CDS nonce n2 error 1 of 2 resources refused, the others are in force; a: name: 'a' comes twice in one response",
        ],
    ),
];
