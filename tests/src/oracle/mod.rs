//! The oracle: the real Envoy and weir are started from one and the same bootstrap, the same requests
//! go through both, and what the client read, what the upstream saw and what was logged must agree.
//!
//! A section file (`tests/oracle/*.yaml`) holds cases as data. All cases of a section share one process
//! per side; each case has a listener, clusters, backends and an access log of its own, so that cases
//! run side by side without seeing each other. The two sides run one after the other on the same ports:
//! the bootstrap is the same bytes, and a hash over an address means the same on both. Then all of it once more, with
//! listeners, routes, clusters and endpoints pushed over a gRPC stream.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`binaries`] | where the two programs are |
//! | [`process`] | one proxy process, killed when dropped |
//! | [`case`] | the format of a section file |
//! | [`template`] | a case's fragments made into listeners, clusters and a bootstrap |
//! | [`wire`] | HTTP/1 messages read from a socket, byte by byte as they came |
//! | [`backend`] | scripted upstreams that record what they saw |
//! | [`client`] | raw HTTP/1 and HTTP/2 clients |
//! | [`content`] | compressed bodies by their content |
//! | [`observe`] | what is left of an observation once clocks and random numbers are taken out |
//! | [`compare`] | two observations against each other, one against the facts a case states |
//! | [`ledger`] | the reviewed differences and the rows left out |
//! | [`run`] | a section from file to verdicts |

pub mod backend;
pub mod binaries;
pub mod case;
pub mod client;
pub mod compare;
pub mod content;
pub mod ledger;
pub mod observe;
pub mod process;
pub mod run;
pub mod template;
pub mod wire;
