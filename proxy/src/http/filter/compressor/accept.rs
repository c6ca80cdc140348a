//! Which encoding a response gets: what the client accepts against the compressors of the chain (RFC 9110 section
//! 12.5.3, with Envoy's choices where several would do).

/// What one compressor of the chain offers for a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The encoding.
    pub encoding: &'static str,
    /// It wins among equal weights.
    pub first: bool,
}

/// What the client's header came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// It names this encoding.
    Named(&'static str),
    /// It takes any; this is the first of the chain.
    Any(&'static str),
    /// It prefers the content as it is.
    Identity,
    /// Nothing that it names is here.
    Nothing,
}

impl Choice {
    /// The encoding, if there is one.
    pub fn encoding(self) -> Option<&'static str> {
        match self {
            Choice::Named(encoding) | Choice::Any(encoding) => Some(encoding),
            Choice::Identity | Choice::Nothing => None,
        }
    }
}

/// The choice for a header; `offers` in the order of the chain.
pub fn choose(header: &[u8], offers: impl Iterator<Item = Offer>) -> Choice {
    let mut offered: Vec<Offer> = Vec::new();
    for offer in offers {
        if !offered.iter().any(|other| other.encoding == offer.encoding) {
            offered.push(offer);
        }
    }
    let wishes: Vec<(&[u8], f32)> = header.split(|b| *b == b',').filter_map(wish).collect();
    let refused =
        |offer: &Offer| wishes.iter().any(|(name, q)| *q == 0.0 && *name == offer.encoding.as_bytes());
    offered.retain(|offer| !refused(offer));
    if offered.is_empty() {
        return Choice::Nothing;
    }
    let (mut best, mut weight) = (Choice::Identity, 0.0);
    for (name, q) in &wishes {
        let offer = offered.iter().find(|offer| offer.encoding.as_bytes() == *name);
        let choice = match (offer, *name) {
            (Some(offer), _) => Choice::Named(offer.encoding),
            (None, b"identity") => Choice::Identity,
            (None, b"*") => offered.first().map_or(Choice::Nothing, |offer| Choice::Any(offer.encoding)),
            _ => continue,
        };
        if *q > weight || (*q == weight && offer.is_some_and(|offer| offer.first)) {
            (best, weight) = (choice, *q);
        }
    }
    if weight == 0.0 { Choice::Nothing } else { best }
}

/// An encoding and its weight; none for what cannot be read.
fn wish(token: &[u8]) -> Option<(&[u8], f32)> {
    if token.is_empty() {
        return None;
    }
    let (name, parameters) = cut(token, b';');
    let weight = match parameters.map(|p| cut(p, b'=')) {
        Some((key, Some(value))) if key.trim_ascii().eq_ignore_ascii_case(b"q") => {
            std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()?
        }
        _ => 1.0,
    };
    Some((name.trim_ascii(), weight))
}

fn cut(text: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    let mut parts = text.splitn(2, |b| *b == at);
    (parts.next().unwrap_or_default(), parts.next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: &str, offers: &[(&'static str, bool)]) -> Choice {
        choose(header.as_bytes(), offers.iter().map(|(encoding, first)| Offer { encoding, first: *first }))
    }

    #[test]
    fn the_weights_decide() {
        let all = [("br", false), ("zstd", false), ("gzip", false)];
        for (header, choice) in [
            ("gzip", Choice::Named("gzip")),
            ("gzip, br, zstd", Choice::Named("gzip")),
            ("br;q=0.5, gzip", Choice::Named("gzip")),
            ("br ; Q = 0.5 , gzip;q=0.4", Choice::Named("br")),
            ("*", Choice::Any("br")),
            ("br;q=0, *", Choice::Any("zstd")),
            ("gzip;q=0, *", Choice::Any("br")),
            ("*;q=0.5, gzip;q=0.5", Choice::Any("br")),
            ("identity, gzip", Choice::Identity),
            ("identity;q=0.5, gzip", Choice::Named("gzip")),
            ("gzip;q=x, br", Choice::Named("br")),
            ("gzip;q=0", Choice::Nothing),
            ("*;q=0", Choice::Nothing),
            ("deflate", Choice::Nothing),
            ("GZIP", Choice::Nothing),
            ("", Choice::Nothing),
            (",,", Choice::Nothing),
            ("gzip;q=2", Choice::Named("gzip")),
            ("gzip;q=-1", Choice::Nothing),
            ("gzip;level=9", Choice::Named("gzip")),
        ] {
            assert_eq!(of(header, &all), choice, "{header}");
        }
    }

    #[test]
    fn one_that_is_to_be_first_wins_among_equals() {
        let offers = [("br", false), ("gzip", true), ("gzip", false)];
        assert_eq!(of("br, gzip", &offers), Choice::Named("gzip"));
        assert_eq!(of("br, gzip;q=0.9", &offers), Choice::Named("br"));
        assert_eq!(of("gzip", &[]), Choice::Nothing);
    }
}
