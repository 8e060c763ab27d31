//! The encoding of receipts: one CBOR map (RFC 8949) with ascending integer keys, in the deterministic form of its section 4.2.
//!
//! Parsing is strict: the parsed receipt is encoded again, and the bytes must be equal. So a receipt has one encoding and one hash. Keys
//! never change their meaning. A new member gets a new key, which older receipts lack.

use jiff::Timestamp;
use minicbor::data::Type;
use minicbor::decode::{Decoder, Error as CborError};
use minicbor::encode::{Encoder, Error as EncodeError};

use super::{CallResult, ChainId, Commitment, Draft, RECEIPT_BYTES_MAX, Receipt};
use hospes_core::id::{CallId, Digest, IdError, ModelName, Party};
use hospes_core::outcome::Spoken;

const VERSION: u8 = 1;

/// The number of members of a complete receipt.
const MEMBERS_MAX: u64 = 29;

/// Those of language models, which are there together or not at all.
const SPOKEN: u64 = 3;

/// Maximum length of a failure code, in bytes.
pub(super) const CODE_BYTES_MAX: usize = 64;

/// Maximum size of a receipt without its strings, in bytes: every member with the longest key, number and length.
pub(super) const BYTES_BESIDE_TEXTS_MAX: usize = 468;

/// Why bytes are not a receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("it is {bytes} bytes, more than the {RECEIPT_BYTES_MAX} allowed")]
    TooLarge { bytes: usize },
    #[error("it is not CBOR of the expected form: {0}")]
    Cbor(String),
    #[error("it has version {seen}; this program reads version {VERSION}")]
    Version { seen: u8 },
    #[error("member {0} is missing")]
    Missing(u8),
    #[error("member {0} holds a value that is not allowed there")]
    Value(u8),
    #[error("it is not in the deterministic form (RFC 8949 section 4.2)")]
    NotCanonical,
}

/// The keys of the members.
mod member {
    pub const VERSION: u8 = 0;
    pub const CALL: u8 = 1;
    pub const AT: u8 = 2;
    pub const CALLER: u8 = 3;
    pub const PUBLISHER: u8 = 4;
    pub const CHAIN: u8 = 5;
    pub const AGREEMENT: u8 = 6;
    pub const MODEL: u8 = 7;
    pub const BUNDLE: u8 = 8;
    pub const FUNCTION: u8 = 9;
    pub const RULE: u8 = 10;
    pub const USED: u8 = 11;
    pub const MAX: u8 = 12;
    pub const INPUT: u8 = 13;
    pub const INPUT_BYTES: u8 = 14;
    pub const OUTPUT: u8 = 15;
    pub const OUTPUT_BYTES: u8 = 16;
    pub const WALL_MICROS: u8 = 17;
    pub const MEMORY_BYTES: u8 = 18;
    pub const RESULT: u8 = 19;
    pub const SEQUENCE: u8 = 20;
    pub const PREVIOUS: u8 = 21;
    pub const ROWS: u8 = 22;
    pub const TOKENS: u8 = 23;
    pub const PRICE: u8 = 24;
    pub const PURPOSE: u8 = 25;
    pub const PROMPT_TOKENS: u8 = 26;
    pub const CACHED_TOKENS: u8 = 27;
    pub const COMPLETION_TOKENS: u8 = 28;
}

impl Receipt {
    /// The receipt's only encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512);
        self.write_to(&mut bytes);
        bytes
    }

    /// Appends that encoding to `bytes`.
    pub(super) fn write_to(&self, bytes: &mut Vec<u8>) {
        write(self, &mut Encoder::new(bytes)).expect("invariant: a vector takes every byte");
    }

    /// Parses a receipt.
    ///
    /// # Errors
    /// [`FormError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FormError> {
        if bytes.len() > RECEIPT_BYTES_MAX {
            return Err(FormError::TooLarge { bytes: bytes.len() });
        }
        let receipt = Members::read(bytes)?.receipt()?;
        if receipt.to_bytes() == bytes { Ok(receipt) } else { Err(FormError::NotCanonical) }
    }
}

type Written = Result<(), EncodeError<std::convert::Infallible>>;

fn write(receipt: &Receipt, cbor: &mut Encoder<&mut Vec<u8>>) -> Written {
    let present = [
        receipt.agreement.is_some(),
        receipt.rule.is_some(),
        receipt.used.is_some(),
        receipt.max.is_some(),
        receipt.output.is_some(),
        receipt.rows.is_some(),
        receipt.tokens.is_some(),
        receipt.price.is_some(),
        receipt.purpose.is_some(),
    ];
    let absent = present.iter().filter(|present| !**present).count() as u64;
    let unspoken = if receipt.spoken.is_some() { 0 } else { SPOKEN };
    cbor.map(MEMBERS_MAX - absent - unspoken)?;
    cbor.u8(member::VERSION)?.u8(VERSION)?;
    cbor.u8(member::CALL)?.bytes(receipt.call.as_bytes())?;
    cbor.u8(member::AT)?.i64(receipt.at.as_microsecond())?;
    cbor.u8(member::CALLER)?.bytes(receipt.caller.public_key())?;
    cbor.u8(member::PUBLISHER)?.bytes(receipt.publisher.public_key())?;
    match &receipt.chain {
        ChainId::Agreement(id) => {
            cbor.u8(member::CHAIN)?.array(2)?.u8(0)?.bytes(id.as_bytes())?;
        }
        ChainId::Caller(party) => {
            cbor.u8(member::CHAIN)?.array(2)?.u8(1)?.bytes(party.public_key())?;
        }
    }
    if let Some(agreement) = &receipt.agreement {
        cbor.u8(member::AGREEMENT)?.bytes(agreement.as_bytes())?;
    }
    write_model(&receipt.model, cbor)?;
    cbor.u8(member::BUNDLE)?.bytes(receipt.bundle.as_bytes())?;
    cbor.u8(member::FUNCTION)?.str(receipt.function.as_str())?;
    let (rule, used) = (receipt.rule.map(u64::from), receipt.used);
    let counts = [(member::RULE, rule), (member::USED, used), (member::MAX, receipt.max)];
    write_numbers(counts, cbor)?;
    cbor.u8(member::INPUT)?.bytes(receipt.input.as_bytes())?;
    cbor.u8(member::INPUT_BYTES)?.u64(receipt.input_bytes)?;
    if let Some(output) = &receipt.output {
        cbor.u8(member::OUTPUT)?.bytes(output.as_bytes())?;
    }
    cbor.u8(member::OUTPUT_BYTES)?.u64(receipt.output_bytes)?;
    cbor.u8(member::WALL_MICROS)?.u64(receipt.wall_micros)?;
    cbor.u8(member::MEMORY_BYTES)?.u64(receipt.memory_bytes)?;
    write_result(&receipt.result, cbor)?;
    cbor.u8(member::SEQUENCE)?.u64(receipt.sequence)?;
    cbor.u8(member::PREVIOUS)?.bytes(receipt.previous.as_bytes())?;
    let (rows, tokens) = (receipt.rows, receipt.tokens);
    let metered = [(member::ROWS, rows), (member::TOKENS, tokens), (member::PRICE, receipt.price)];
    write_numbers(metered, cbor)?;
    if let Some(purpose) = &receipt.purpose {
        cbor.u8(member::PURPOSE)?.str(purpose)?;
    }
    if let Some(Spoken { prompt, cached, completion }) = receipt.spoken {
        cbor.u8(member::PROMPT_TOKENS)?.u64(prompt)?;
        cbor.u8(member::CACHED_TOKENS)?.u64(cached)?;
        cbor.u8(member::COMPLETION_TOKENS)?.u64(completion)?;
    }
    Ok(())
}

/// Those that are there.
fn write_numbers(numbers: [(u8, Option<u64>); 3], cbor: &mut Encoder<&mut Vec<u8>>) -> Written {
    for (member, number) in numbers {
        if let Some(number) = number {
            cbor.u8(member)?.u64(number)?;
        }
    }
    Ok(())
}

/// `publisher/model`, joined while it is written.
fn write_model(model: &ModelName, cbor: &mut Encoder<&mut Vec<u8>>) -> Written {
    let (publisher, label) = (model.publisher.as_str(), model.label.as_str());
    cbor.u8(member::MODEL)?.str_len((publisher.len() + 1 + label.len()) as u64)?;
    for part in [publisher, "/", label] {
        cbor.writer_mut().extend_from_slice(part.as_bytes());
    }
    Ok(())
}

fn write_result(result: &CallResult, cbor: &mut Encoder<&mut Vec<u8>>) -> Written {
    cbor.u8(member::RESULT)?;
    match result {
        CallResult::Answered => cbor.array(1)?.u8(0)?,
        CallResult::Refused => cbor.array(1)?.u8(1)?,
        CallResult::Failed { code } => cbor.array(2)?.u8(2)?.str(code)?,
        CallResult::Denied { code } => cbor.array(2)?.u8(3)?.str(code)?,
    };
    Ok(())
}

/// The members that were found. Required ones are checked afterwards.
#[derive(Default)]
struct Members<'a> {
    version: Option<u8>,
    bytes: [Option<&'a [u8]>; MEMBERS_MAX as usize],
    texts: [Option<&'a str>; MEMBERS_MAX as usize],
    integers: [Option<u64>; MEMBERS_MAX as usize],
    at: Option<i64>,
    chain: Option<(u8, &'a [u8])>,
    result: Option<(u8, Option<&'a str>)>,
}

impl<'a> Members<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, FormError> {
        let mut cbor = Decoder::new(bytes);
        let count = cbor.map().map_err(form)?.ok_or(FormError::NotCanonical)?;
        if count > MEMBERS_MAX {
            return Err(FormError::NotCanonical);
        }
        let mut members = Self::default();
        for _ in 0..count {
            let member = cbor.u8().map_err(form)?;
            members.member(member, &mut cbor)?;
        }
        Ok(members)
    }

    fn member(&mut self, member: u8, cbor: &mut Decoder<'a>) -> Result<(), FormError> {
        let place = usize::from(member);
        match member {
            member::VERSION => self.version = Some(cbor.u8().map_err(form)?),
            member::AT => self.at = Some(cbor.i64().map_err(form)?),
            member::CHAIN => {
                let two = cbor.array().map_err(form)? == Some(2);
                let kind = cbor.u8().map_err(form)?;
                let id = cbor.bytes().map_err(form)?;
                self.chain = Some((kind, id)).filter(|_| two);
            }
            member::RESULT => {
                let items = cbor.array().map_err(form)?;
                let kind = cbor.u8().map_err(form)?;
                let code = if items == Some(2) { Some(cbor.str().map_err(form)?) } else { None };
                self.result = Some((kind, code));
            }
            _ => match cbor.datatype().map_err(form)? {
                Type::Bytes => {
                    let value = cbor.bytes().map_err(form)?;
                    *self.bytes.get_mut(place).ok_or(FormError::Value(member))? = Some(value);
                }
                Type::String => {
                    let value = cbor.str().map_err(form)?;
                    *self.texts.get_mut(place).ok_or(FormError::Value(member))? = Some(value);
                }
                // Everything else must be a number; another type fails here.
                _ => {
                    let value = cbor.u64().map_err(form)?;
                    *self.integers.get_mut(place).ok_or(FormError::Value(member))? = Some(value);
                }
            },
        }
        Ok(())
    }

    fn receipt(&self) -> Result<Receipt, FormError> {
        let version = self.version.ok_or(FormError::Missing(member::VERSION))?;
        if version != VERSION {
            return Err(FormError::Version { seen: version });
        }
        let at = self.at.ok_or(FormError::Missing(member::AT))?;
        let rule = self.integer(member::RULE).map(u16::try_from).transpose();
        let draft = Draft {
            call: CallId::from_bytes(self.array(member::CALL)?),
            at: Timestamp::from_microsecond(at).map_err(|_| FormError::Value(member::AT))?,
            caller: Party::from_public_key(self.array(member::CALLER)?),
            publisher: Party::from_public_key(self.array(member::PUBLISHER)?),
            chain: self.chain()?,
            agreement: self.optional(member::AGREEMENT)?.map(Digest::from_bytes),
            model: self.name(member::MODEL)?,
            bundle: Digest::from_bytes(self.array(member::BUNDLE)?),
            function: self.name(member::FUNCTION)?,
            rule: rule.map_err(|_| FormError::Value(member::RULE))?,
            used: self.integer(member::USED),
            max: self.integer(member::MAX),
            rows: self.integer(member::ROWS),
            tokens: self.integer(member::TOKENS),
            spoken: self.spoken()?,
            price: self.integer(member::PRICE),
            purpose: self.texts.get(usize::from(member::PURPOSE)).copied().flatten().map(Box::from),
            input: Commitment::from_bytes(self.array(member::INPUT)?),
            output: self.optional(member::OUTPUT)?.map(Commitment::from_bytes),
            input_bytes: self.required(member::INPUT_BYTES)?,
            output_bytes: self.required(member::OUTPUT_BYTES)?,
            wall_micros: self.required(member::WALL_MICROS)?,
            memory_bytes: self.required(member::MEMORY_BYTES)?,
            result: self.result()?,
        };
        let previous = Digest::from_bytes(self.array(member::PREVIOUS)?);
        Ok(Receipt { draft, sequence: self.required(member::SEQUENCE)?, previous })
    }

    fn spoken(&self) -> Result<Option<Spoken>, FormError> {
        let members = [member::PROMPT_TOKENS, member::CACHED_TOKENS, member::COMPLETION_TOKENS];
        match members.map(|member| self.integer(member)) {
            [None, None, None] => Ok(None),
            [Some(prompt), Some(cached), Some(completion)] => {
                Ok(Some(Spoken { prompt, cached, completion }))
            }
            [None, _, _] => Err(FormError::Missing(member::PROMPT_TOKENS)),
            [_, None, _] => Err(FormError::Missing(member::CACHED_TOKENS)),
            [_, _, None] => Err(FormError::Missing(member::COMPLETION_TOKENS)),
        }
    }

    fn chain(&self) -> Result<ChainId, FormError> {
        let (kind, id) = self.chain.ok_or(FormError::Missing(member::CHAIN))?;
        let id = id.try_into().map_err(|_| FormError::Value(member::CHAIN))?;
        match kind {
            0 => Ok(ChainId::Agreement(Digest::from_bytes(id))),
            1 => Ok(ChainId::Caller(Party::from_public_key(id))),
            _ => Err(FormError::Value(member::CHAIN)),
        }
    }

    fn result(&self) -> Result<CallResult, FormError> {
        match self.result.ok_or(FormError::Missing(member::RESULT))? {
            (0, None) => Ok(CallResult::Answered),
            (1, None) => Ok(CallResult::Refused),
            (2, Some(code)) if code.len() <= CODE_BYTES_MAX => {
                Ok(CallResult::Failed { code: code.into() })
            }
            (3, Some(code)) if code.len() <= CODE_BYTES_MAX => {
                Ok(CallResult::Denied { code: code.into() })
            }
            (_, None | Some(_)) => Err(FormError::Value(member::RESULT)),
        }
    }

    fn optional<const N: usize>(&self, member: u8) -> Result<Option<[u8; N]>, FormError> {
        let found = self.bytes.get(usize::from(member)).copied().flatten();
        found.map(|bytes| bytes.try_into().map_err(|_| FormError::Value(member))).transpose()
    }

    fn array<const N: usize>(&self, member: u8) -> Result<[u8; N], FormError> {
        self.optional(member)?.ok_or(FormError::Missing(member))
    }

    fn integer(&self, member: u8) -> Option<u64> {
        self.integers.get(usize::from(member)).copied().flatten()
    }

    fn required(&self, member: u8) -> Result<u64, FormError> {
        self.integer(member).ok_or(FormError::Missing(member))
    }

    fn name<T: std::str::FromStr<Err = IdError>>(&self, member: u8) -> Result<T, FormError> {
        let text = self.texts.get(usize::from(member)).copied().flatten();
        text.ok_or(FormError::Missing(member))?.parse().map_err(|_| FormError::Value(member))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
fn form(error: CborError) -> FormError {
    FormError::Cbor(error.to_string())
}
