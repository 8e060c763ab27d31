//! Reads pickles (protocols 0 to 5, as far as state dicts use them) without executing them: what a pickle would call is a value here.

use std::rc::Rc;

/// Maximum values on the stack and in the memo.
const VALUES_MAX: usize = 4_000_000;

/// Maximum values that are made, also those that are put into others at once. A state dict of 200,000 tensors makes some 5 million.
const MADE_MAX: usize = 10_000_000;

/// Maximum depth of what is built, so that dropping it cannot overflow the stack.
const DEPTH_MAX: usize = 64;

/// A value of a pickle.
#[derive(Debug, Clone, PartialEq)]
pub enum Pickled {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    Bytes(Rc<[u8]>),
    Tuple(Rc<Vec<Pickled>>),
    List(Rc<Vec<Pickled>>),
    Dict(Rc<Vec<(Pickled, Pickled)>>),
    /// A class or function by name. It is not looked up.
    Global(Rc<str>),
    /// What a call would make: the function and its arguments. Nothing is called.
    Call(Rc<(Pickled, Pickled)>),
    /// Something outside, such as a tensor's storage.
    Outside(Rc<Pickled>),
}

/// Why a pickle cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {why}")]
pub struct PickleError {
    pub at: usize,
    pub why: String,
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    stack: Vec<(Pickled, usize)>,
    marks: Vec<usize>,
    memo: Vec<Option<(Pickled, usize)>>,
    /// Values that were made.
    made: usize,
    /// Values that may have been copied.
    copied: usize,
}

impl Pickled {
    /// Reads a whole pickle.
    ///
    /// # Errors
    /// [`PickleError`] if it is cut, or has what no state dict has.
    pub fn read(bytes: &[u8]) -> Result<Self, PickleError> {
        let mut reader = Reader {
            bytes,
            at: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            made: 0,
            copied: 0,
        };
        loop {
            let begin = reader.at;
            let [code] = reader.fixed()?;
            if code == b'.' {
                return reader.pop().map(|(value, _)| value);
            }
            reader.step(code).map_err(|error| PickleError { at: begin, ..error })?;
        }
    }
}

type Step<T = ()> = Result<T, PickleError>;

impl<'b> Reader<'b> {
    fn fail<T>(&self, why: impl Into<String>) -> Step<T> {
        Err(PickleError { at: self.at, why: why.into() })
    }

    fn take(&mut self, count: usize) -> Step<&'b [u8]> {
        let end = self.at.checked_add(count);
        let Some(taken) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return self.fail("it ends too early");
        };
        self.at += count;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn line(&mut self) -> Step<&'b str> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return self.fail("a line does not end");
        };
        let line = self.take(end)?;
        self.at += 1;
        std::str::from_utf8(line).or_else(|_| self.fail("a line is not UTF-8"))
    }

    fn short(&mut self) -> Step<usize> {
        self.fixed::<1>().map(|[byte]| byte.into())
    }

    fn length(&mut self) -> Step<usize> {
        let length = u32::from_le_bytes(self.fixed()?);
        usize::try_from(length).or_else(|_| self.fail("a length is too large"))
    }

    fn long_length(&mut self) -> Step<usize> {
        let length = u64::from_le_bytes(self.fixed()?);
        usize::try_from(length).or_else(|_| self.fail("a length is too large"))
    }

    fn push(&mut self, value: Pickled, depth: usize) -> Step {
        if self.stack.len() >= VALUES_MAX {
            return self.fail(format!("it has more than {VALUES_MAX} values"));
        }
        self.made += 1;
        if self.made > MADE_MAX {
            return self.fail(format!("it makes more than {MADE_MAX} values"));
        }
        if depth > DEPTH_MAX {
            return self.fail(format!("it is nested more than {DEPTH_MAX} deep"));
        }
        self.stack.push((value, depth));
        Ok(())
    }

    fn pop(&mut self) -> Step<(Pickled, usize)> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return self.fail("its stack is empty");
        }
        self.stack.pop().map_or_else(|| self.fail("its stack is empty"), Ok)
    }

    /// All values above the last mark.
    fn marked(&mut self) -> Step<(Vec<Pickled>, usize)> {
        let Some(mark) = self.marks.pop().filter(|mark| *mark <= self.stack.len()) else {
            return self.fail("there is no mark");
        };
        Ok(above(self.stack.split_off(mark)))
    }

    fn last(&mut self, count: usize) -> Step<(Vec<Pickled>, usize)> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count).filter(|at| *at >= floor) {
            Some(at) => Ok(above(self.stack.split_off(at))),
            None => self.fail("its stack is too short"),
        }
    }

    fn text(&mut self, length: usize) -> Step {
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).or_else(|_| self.fail("a text is not UTF-8"))?;
        self.push(Pickled::Text(text.into()), 0)
    }

    fn raw(&mut self, length: usize) -> Step {
        let bytes = self.take(length)?;
        self.push(Pickled::Bytes(bytes.into()), 0)
    }

    fn remember(&mut self, at: usize) -> Step {
        let Some(value) = self.stack.last().cloned() else {
            return self.fail("there is nothing to remember");
        };
        // Each entry costs bytes of the file, but its number does not.
        if at > self.bytes.len() || at >= VALUES_MAX {
            return self.fail(format!("memo {at} is beyond its values"));
        }
        if self.memo.len() <= at {
            self.memo.resize(at + 1, None);
        }
        self.memo[at] = Some(value);
        Ok(())
    }

    fn recall(&mut self, at: usize) -> Step {
        match self.memo.get(at).cloned().flatten() {
            Some((value, depth)) => self.push(value, depth),
            None => self.fail(format!("memo {at} is empty")),
        }
    }

    fn step(&mut self, code: u8) -> Step {
        match code {
            // Protocol and frames, which say nothing here.
            0x80 => self.short().map(drop),
            0x95 => self.long_length().map(drop),
            b'(' => {
                if self.marks.len() >= VALUES_MAX {
                    return self.fail(format!("it has more than {VALUES_MAX} marks"));
                }
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'1' => self.marked().map(drop),
            b'2' => {
                let (value, depth) = self.pop()?;
                self.push(value.clone(), depth)?;
                self.push(value, depth)
            }
            b'q' => {
                let at = self.short()?;
                self.remember(at)
            }
            b'r' => {
                let at = self.length()?;
                self.remember(at)
            }
            0x94 => self.remember(self.memo.len()),
            b'h' => {
                let at = self.short()?;
                self.recall(at)
            }
            b'j' => {
                let at = self.length()?;
                self.recall(at)
            }
            b'R' | 0x81 => {
                let (arguments, inner) = self.pop()?;
                let (function, depth) = self.pop()?;
                self.push(Pickled::Call(Rc::new((function, arguments))), inner.max(depth) + 1)
            }
            // `BUILD`: the state of an object, which is kept beside it.
            b'b' => {
                let (state, inner) = self.pop()?;
                let (object, depth) = self.pop()?;
                // Attributes of a dict (`_metadata`) are none of its items.
                if matches!(object, Pickled::Dict(_)) {
                    return self.push(object, depth);
                }
                self.push(Pickled::Call(Rc::new((object, state))), inner.max(depth) + 1)
            }
            b'Q' => {
                let (value, depth) = self.pop()?;
                self.push(Pickled::Outside(Rc::new(value)), depth + 1)
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Pickled::Global(format!("{module}.{name}").into()), 0)
            }
            0x93 => {
                let ((name, _), (module, _)) = (self.pop()?, self.pop()?);
                let (Pickled::Text(module), Pickled::Text(name)) = (module, name) else {
                    return self.fail("a global without a name");
                };
                self.push(Pickled::Global(format!("{module}.{name}").into()), 0)
            }
            _ => self.container(code),
        }
    }

    fn container(&mut self, code: u8) -> Step {
        let tuple = |(values, depth)| (Pickled::Tuple(Rc::new(values)), depth + 1);
        let list = |(values, depth)| (Pickled::List(Rc::new(values)), depth + 1);
        let (value, depth) = match code {
            b')' => tuple((Vec::new(), 0)),
            b't' => tuple(self.marked()?),
            0x85 => tuple(self.last(1)?),
            0x86 => tuple(self.last(2)?),
            0x87 => tuple(self.last(3)?),
            b']' => list((Vec::new(), 0)),
            b'l' => list(self.marked()?),
            b'}' => (Pickled::Dict(Rc::default()), 1),
            b'd' => {
                let (values, depth) = self.marked()?;
                (Pickled::Dict(Rc::new(self.pairs(values)?)), depth + 1)
            }
            b'a' | b'e' => {
                let (values, depth) = if code == b'a' { self.last(1)? } else { self.marked()? };
                return self.extend(values, depth);
            }
            b's' | b'u' => {
                let (values, depth) = if code == b's' { self.last(2)? } else { self.marked()? };
                let pairs = self.pairs(values)?;
                return self.update(pairs, depth);
            }
            _ => return self.scalar(code),
        };
        self.push(value, depth)
    }

    fn pairs(&self, values: Vec<Pickled>) -> Step<Vec<(Pickled, Pickled)>> {
        let mut pairs = Vec::with_capacity(values.len() / 2);
        let mut values = values.into_iter();
        while let Some(name) = values.next() {
            let Some(value) = values.next() else { return self.fail("a key without a value") };
            pairs.push((name, value));
        }
        Ok(pairs)
    }

    fn extend(&mut self, mut values: Vec<Pickled>, inner: usize) -> Step {
        let (object, depth) = self.pop()?;
        let Pickled::List(mut list) = object else { return self.fail("items for no list") };
        self.pay(list.len())?;
        Rc::make_mut(&mut list).append(&mut values);
        self.push(Pickled::List(list), depth.max(inner + 1))
    }

    fn update(&mut self, mut pairs: Vec<(Pickled, Pickled)>, inner: usize) -> Step {
        let (object, depth) = self.pop()?;
        let ordered = |function: &Pickled| matches!(function, Pickled::Global(name) if &**name == "collections.OrderedDict");
        let mut dict = match object {
            Pickled::Dict(dict) => dict,
            // An `OrderedDict` is a call without arguments.
            Pickled::Call(call) if ordered(&call.0) => Rc::default(),
            _ => return self.fail("items for no dict"),
        };
        self.pay(dict.len())?;
        Rc::make_mut(&mut dict).append(&mut pairs);
        self.push(Pickled::Dict(dict), depth.max(inner + 1))
    }

    /// What is filled may be remembered, and is then copied: the memo keeps it as it was, since a state dict does not refer to itself. A hostile
    /// pickle could have that done again and again.
    fn pay(&mut self, values: usize) -> Step {
        self.copied = self.copied.saturating_add(values);
        if self.copied > VALUES_MAX {
            return self.fail("it fills lists in too many pieces");
        }
        Ok(())
    }

    fn scalar(&mut self, code: u8) -> Step {
        let value = match code {
            b'N' => Pickled::None,
            0x88 => Pickled::Bool(true),
            0x89 => Pickled::Bool(false),
            b'K' => Pickled::Int(i64::from(self.fixed::<1>()?[0])),
            b'M' => Pickled::Int(u16::from_le_bytes(self.fixed()?).into()),
            b'J' => Pickled::Int(i32::from_le_bytes(self.fixed()?).into()),
            b'G' => Pickled::Float(f64::from_be_bytes(self.fixed()?)),
            0x8a => {
                let length = self.short()?;
                let bytes = self.take(length)?;
                if length > 8 {
                    return self.fail("a number beyond 64 bits");
                }
                let sign = bytes.last().is_some_and(|last| last & 0x80 != 0);
                let mut whole = if sign { [0xff; 8] } else { [0; 8] };
                for (to, from) in whole.iter_mut().zip(bytes) {
                    *to = *from;
                }
                Pickled::Int(i64::from_le_bytes(whole))
            }
            b'X' | 0x8c | 0x8d => {
                let length = match code {
                    b'X' => self.length()?,
                    0x8c => self.short()?,
                    _ => self.long_length()?,
                };
                return self.text(length);
            }
            b'B' | b'C' | 0x8e | b'T' | b'U' => {
                let length = match code {
                    b'C' | b'U' => self.short()?,
                    b'B' | b'T' => self.length()?,
                    _ => self.long_length()?,
                };
                return self.raw(length);
            }
            _ => {
                return self.fail(format!(
                    "operation {code:#04x}, which no state dict has: it holds more than weights"
                ));
            }
        };
        self.push(value, 0)
    }
}

/// The values, and the depth of the deepest.
fn above(values: Vec<(Pickled, usize)>) -> (Vec<Pickled>, usize) {
    let depth = values.iter().map(|(_, depth)| *depth).max().unwrap_or(0);
    (values.into_iter().map(|(value, _)| value).collect(), depth)
}
