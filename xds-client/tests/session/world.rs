//! Rows of state of the world.

use super::Do::{Connect, Get, Judge, Later, Lose, Restore, Take, Ttl, Want};
use super::Row;
use weir_xds::{CLUSTER, ENDPOINTS};

pub(super) static ROWS: &[Row] = &[
    (
        "what an earlier life knew and the first response lacks is gone",
        &[Restore("a b"), Connect, Take(&CLUSTER, "1", "a", "")],
        &["CDS node", "  CDS +a -b", "CDS version 1 nonce n1"],
    ),
    (
        "an ACK has the new version and the nonce, and the names as they were",
        &[Connect, Want("a"), Take(&ENDPOINTS, "1", "a", ""), Want("a b")],
        &[
            "CDS node",
            "EDS names a",
            "  EDS +a",
            "EDS names a version 1 nonce n1",
            "EDS names a,b version 1 nonce n1",
        ],
    ),
    (
        "what nobody has asked for gets no answer: one without names would ask for all of it",
        &[Connect, Take(&ENDPOINTS, "1", "a", ""), Want("b")],
        &["CDS node", "  nobody asked", "EDS names b"],
    ),
    (
        "a NACK has the old version and the new nonce",
        &[Connect, Take(&CLUSTER, "1", "a", ""), Get(&CLUSTER, "2", "a b", ""), Judge("b")],
        &[
            "CDS node",
            "  CDS +a",
            "CDS version 1 nonce n1",
            "  CDS +b 1 the same",
            "CDS version 1 nonce n2 error 1 of 2 resources refused, the others are in force; b: bad",
        ],
    ),
    (
        "what a whole type lacks is gone, refused names too; an empty response removes all",
        &[
            Connect,
            Get(&CLUSTER, "1", "a b", ""),
            Judge("b"),
            Take(&CLUSTER, "2", "c", ""),
            Take(&CLUSTER, "3", "", ""),
        ],
        &[
            "CDS node",
            "  CDS +a,b",
            "CDS nonce n1 error 1 of 2 resources refused, the others are in force; b: bad",
            "  CDS +c -a,b",
            "CDS version 2 nonce n2",
            "  CDS -c",
            "CDS version 3 nonce n3",
        ],
    ),
    (
        "what a named type lacks may come later; an empty response says that there is nothing",
        &[Connect, Want("a b"), Take(&ENDPOINTS, "1", "a", ""), Take(&ENDPOINTS, "2", "", "")],
        &[
            "CDS node",
            "EDS names a,b",
            "  EDS +a",
            "EDS names a,b version 1 nonce n1",
            "  EDS missing a,b",
            "EDS names a,b version 2 nonce n2",
        ],
    ),
    (
        "a new stream tells the last version and no nonce; what went meanwhile is noticed",
        &[Connect, Take(&CLUSTER, "1", "a b", ""), Lose, Connect, Take(&CLUSTER, "5", "b", "")],
        &[
            "CDS node",
            "  CDS +a,b",
            "CDS version 1 nonce n1",
            "CDS node version 1",
            "  CDS -a 1 the same",
            "CDS version 5 nonce n5",
        ],
    ),
    (
        "a wrapped resource has a TTL here too",
        &[Connect, Ttl(&CLUSTER, "a", 5), Judge(""), Later(6)],
        &["CDS node", "  CDS +a", "CDS version t nonce nt", "  CDS -a"],
    ),
    (
        "names that are wanted no more are unsubscribed by an empty list",
        &[Connect, Want("a"), Want("")],
        &["CDS node", "EDS names a", "  unwanted a", "EDS"],
    ),
];
