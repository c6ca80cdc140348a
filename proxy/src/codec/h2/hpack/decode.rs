//! A header block into fields (RFC 7541 section 6).

use super::table::{Name, Table, is_good_value};
use super::{HpackError, huffman};
use crate::base::names::Id;

/// A field of a header block.
#[derive(Debug)]
pub(in crate::codec::h2) struct Field<'a> {
    /// Id of the name.
    pub(in crate::codec::h2) id: Id,
    /// The name.
    pub(in crate::codec::h2) name: &'a [u8],
    /// The value.
    pub(in crate::codec::h2) value: &'a [u8],
    /// Are both such as may stand in a message?
    pub(in crate::codec::h2) valid: bool,
}

/// One connection's decoder.
#[derive(Debug)]
pub(in crate::codec::h2) struct Decoder {
    table: Table,
    /// Largest table that our SETTINGS allow.
    allowed: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Strings that are decoded keep this much room for the next ones.
const KEPT: usize = 1 << 10;

/// An integer (RFC 7541 section 5.1) with a prefix of so many bits.
fn integer(block: &mut &[u8], prefix: u32) -> Result<usize, HpackError> {
    let (first, mut rest) = block.split_first().ok_or(HpackError::Cut)?;
    let mask = (1u32 << prefix).saturating_sub(1);
    let mut value = u32::from(*first) & mask;
    if value == mask {
        let mut shift = 0u32;
        loop {
            let (byte, after) = rest.split_first().ok_or(HpackError::Cut)?;
            rest = after;
            // Four more bytes hold 2^28: far above every limit of ours.
            if shift > 21 {
                return Err(HpackError::Integer);
            }
            value = value.saturating_add((u32::from(*byte) & 0x7f) << shift);
            shift = shift.saturating_add(7);
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *block = rest;
    Ok(value as usize)
}

/// A string (RFC 7541 section 5.2): from the block itself, or decoded into `room`.
fn string<'a, 'b: 'a>(block: &mut &'b [u8], room: &'a mut Vec<u8>) -> Result<&'a [u8], HpackError> {
    let coded = block.first().is_some_and(|b| b & 0x80 != 0);
    let len = integer(block, 7)?;
    let (bytes, rest) = block.split_at_checked(len).ok_or(HpackError::Cut)?;
    *block = rest;
    if !coded {
        return Ok(bytes);
    }
    room.clear();
    huffman::decode(bytes, room)?;
    Ok(room)
}

impl Decoder {
    /// With the table that our SETTINGS allow, in bytes.
    pub(in crate::codec::h2) fn new(allowed: u32) -> Decoder {
        let allowed = allowed as usize;
        Decoder { table: Table::new(allowed), allowed, name: Vec::new(), value: Vec::new() }
    }

    /// Bytes that the dynamic table holds.
    #[cfg(test)]
    pub(in crate::codec::h2) fn table_size(&self) -> usize {
        self.table.size()
    }

    /// Decodes a whole block; every field is told in order.
    pub(in crate::codec::h2) fn decode(
        &mut self,
        mut block: &[u8],
        mut tell: impl FnMut(Field<'_>),
    ) -> Result<(), HpackError> {
        let mut start = true;
        while let Some(first) = block.first() {
            match *first {
                // Indexed field.
                0x80.. => {
                    let index = integer(&mut block, 7)?;
                    let found = self.table.find(index).ok_or(HpackError::Index)?;
                    let valid = found.name.valid && found.value_is_good;
                    tell(Field { id: found.name.id, name: found.name_bytes, value: found.value, valid });
                }
                // Literal that goes into the table.
                0x40..0x80 => self.literal(&mut block, 6, true, &mut tell)?,
                // Size update.
                0x20..0x40 => {
                    let size = integer(&mut block, 5)?;
                    if !start || size > self.allowed {
                        return Err(HpackError::Size);
                    }
                    self.table.resize(size);
                    continue;
                }
                // Literal without indexing, or never indexed.
                0..0x20 => self.literal(&mut block, 4, false, &mut tell)?,
            }
            start = false;
        }
        self.name.shrink_to(KEPT);
        self.value.shrink_to(KEPT);
        Ok(())
    }

    fn literal(
        &mut self,
        block: &mut &[u8],
        prefix: u32,
        add: bool,
        tell: &mut impl FnMut(Field<'_>),
    ) -> Result<(), HpackError> {
        let index = integer(block, prefix)?;
        let (name_bytes, name) = if index == 0 {
            let bytes = string(block, &mut self.name)?;
            (bytes, Name::of(bytes))
        } else {
            let found = self.table.find(index).ok_or(HpackError::Index)?;
            if !add {
                let value = string(block, &mut self.value)?;
                let valid = found.name.valid && is_good_value(value);
                tell(Field { id: found.name.id, name: found.name_bytes, value, valid });
                return Ok(());
            }
            // Copied: adding it may push the entry out that it comes from.
            self.name.clear();
            self.name.extend_from_slice(found.name_bytes);
            (&self.name[..], found.name)
        };
        let value = string(block, &mut self.value)?;
        let good = is_good_value(value);
        tell(Field { id: name.id, name: name_bytes, value, valid: name.valid && good });
        if add {
            self.table.add(name_bytes, value, name, good);
        }
        Ok(())
    }
}
