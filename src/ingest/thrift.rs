//! Walks Thrift's compact protocol without building anything: which fields a struct has, and where their bytes are.
//!
//! Pure. Every length and count is compared with the bytes that are left before it is believed, and nesting is
//! bounded, so hostile bytes cost no memory and no stack. What is not well-formed is [`Malformed`], never a panic.

/// Levels of structs, lists and maps.
const DEPTH_MAX: usize = 32;
/// Fields of one struct that is read; Parquet's have less than twenty.
const FIELDS_MAX: usize = 64;
/// Elements of one list: those of an empty struct or text take one byte here, and many in memory.
const LIST_MAX: usize = 1 << 17;

const STOP: u8 = 0;
/// Type of a boolean field that is true.
pub const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
/// Type of a 32-bit field.
pub const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
/// Type of a text or binary field.
pub const BINARY: u8 = 8;
/// Type of a list field.
pub const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
/// Type of a struct field.
pub const STRUCT: u8 = 12;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Result of the walkers.
pub type Walk<T> = Result<T, Malformed>;

/// A field of a struct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its number.
    pub id: i16,
    /// Its type, with a boolean's value in it.
    pub kind: u8,
    /// Its value's bytes.
    pub value: &'a [u8],
}

impl Field<'_> {
    /// The value of an integer field.
    pub fn integer(&self) -> Walk<i64> {
        match self.kind {
            I16 | I32 | I64 => Reader::new(self.value).zigzag(),
            _ => Err(Malformed("a number is of another type")),
        }
    }
}

/// Reads from the front of some bytes.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes that were not read.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn take(&mut self, count: usize) -> Walk<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(Malformed("it is cut"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Walk<u8> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    fn varint(&mut self) -> Walk<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("a number has too many bytes"))
    }

    fn zigzag(&mut self) -> Walk<i64> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// The length or count that comes next; never more than bytes are left.
    fn count(&mut self) -> Walk<usize> {
        usize::try_from(self.varint()?)
            .ok()
            .filter(|count| *count <= self.rest.len())
            .ok_or(Malformed("a length is beyond its end"))
    }

    /// A text or binary value.
    pub fn binary(&mut self) -> Walk<&'a [u8]> {
        let length = self.count()?;
        self.take(length)
    }

    /// The header of a list: type and number of its elements.
    pub fn list(&mut self) -> Walk<(u8, usize)> {
        let header = self.byte()?;
        let count = match usize::from(header >> 4) {
            15 => self.count()?,
            count => count,
        };
        if count > self.rest.len() {
            return Err(Malformed("a list is longer than its bytes"));
        }
        if count > LIST_MAX {
            return Err(Malformed("a list has more than 131072 elements"));
        }
        Ok((header & 0x0f, count))
    }

    /// The fields of the struct that comes next. None stands twice: readers would not agree which counts.
    pub fn fields(&mut self) -> Walk<Vec<Field<'a>>> {
        let mut fields: Vec<Field<'a>> = Vec::new();
        let mut is_double = false;
        self.each_field(0, |field| {
            if fields.len() <= FIELDS_MAX {
                is_double |= fields.iter().any(|other| other.id == field.id);
                fields.push(field);
            }
        })?;
        if fields.len() > FIELDS_MAX {
            return Err(Malformed("a struct has too many fields"));
        }
        if is_double {
            return Err(Malformed("a field stands twice"));
        }
        Ok(fields)
    }

    fn each_field(&mut self, depth: usize, mut found: impl FnMut(Field<'a>)) -> Walk<()> {
        let mut id = 0i16;
        loop {
            let header = self.byte()?;
            if header == STOP {
                return Ok(());
            }
            id = match header >> 4 {
                0 => i16::try_from(self.zigzag()?)
                    .map_err(|_| Malformed("a field number is too large"))?,
                delta => id
                    .checked_add(i16::from(delta))
                    .ok_or(Malformed("a field number is too large"))?,
            };
            let kind = header & 0x0f;
            let before = self.rest;
            if !matches!(kind, TRUE | FALSE) {
                self.skip(kind, depth)?;
            }
            let value = &before[..before.len() - self.rest.len()];
            found(Field { id, kind, value });
        }
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Walk<()> {
        if depth > DEPTH_MAX {
            return Err(Malformed("it is nested too deeply"));
        }
        match kind {
            TRUE | FALSE | BYTE => self.take(1).map(drop),
            I16 | I32 | I64 => self.varint().map(drop),
            DOUBLE => self.take(8).map(drop),
            BINARY => self.binary().map(drop),
            LIST | SET => {
                let (element, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip(element, depth + 1))
            }
            MAP => {
                let count = self.count()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                (0..count).try_for_each(|_| {
                    self.skip(kinds >> 4, depth + 1)?;
                    self.skip(kinds & 0x0f, depth + 1)
                })
            }
            STRUCT => self.each_field(depth + 1, |_| {}),
            _ => Err(Malformed("a field has an unknown type")),
        }
    }
}

/// A struct in a list: its bytes and its fields.
pub type Element<'a> = (&'a [u8], Vec<Field<'a>>);

/// The structs in a list field, one by one: all of them together can take many times their bytes.
pub fn structs<'a>(field: Field<'a>) -> Walk<impl ExactSizeIterator<Item = Walk<Element<'a>>>> {
    if field.kind != LIST {
        return Err(Malformed("a list is of another type"));
    }
    let mut reader = Reader::new(field.value);
    let (kind, count) = reader.list()?;
    if kind != STRUCT && count > 0 {
        return Err(Malformed("a list has other elements"));
    }
    Ok((0..count).map(move |_| {
        let start = field.value.len() - reader.remaining();
        let fields = reader.fields()?;
        let end = field.value.len() - reader.remaining();
        Ok((&field.value[start..end], fields))
    }))
}

/// Writes structs field by field, each value as it is.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    last_id: i16,
}

impl Writer {
    /// Adds a field.
    pub fn field(&mut self, id: i16, kind: u8, value: &[u8]) {
        match id
            .checked_sub(self.last_id)
            .and_then(|delta| u8::try_from(delta).ok())
        {
            Some(delta @ 1..=15) => self.bytes.push(delta << 4 | kind),
            Some(_) | None => {
                self.bytes.push(kind);
                push_zigzag(&mut self.bytes, i32::from(id));
            }
        }
        self.last_id = id;
        self.bytes.extend_from_slice(value);
    }

    /// Ends the struct; gives its bytes.
    pub fn end(mut self) -> Vec<u8> {
        self.bytes.push(STOP);
        self.bytes
    }
}

/// A 32-bit number as its field's value.
pub fn i32_value(value: i32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(5);
    push_zigzag(&mut bytes, value);
    bytes
}

/// A list of structs as its field's value.
pub fn list_of_structs(structs: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(structs.iter().map(Vec::len).sum::<usize>() + 6);
    match u8::try_from(structs.len()) {
        Ok(count @ 0..=14) => bytes.push(count << 4 | STRUCT),
        Ok(_) | Err(_) => {
            bytes.push(0xf0 | STRUCT);
            push_varint(&mut bytes, structs.len() as u64);
        }
    }
    bytes.extend(structs.iter().flatten());
    bytes
}

fn push_zigzag(bytes: &mut Vec<u8>, value: i32) {
    push_varint(bytes, u64::from((value << 1 ^ value >> 31).cast_unsigned()));
}

fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}
