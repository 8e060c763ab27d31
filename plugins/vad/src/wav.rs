//! Reads WAV files with PCM, as in Microsoft's and IBM's RIFF of 1991.

/// Maximum samples of a recording in all channels: ten minutes of stereo at 48 kHz.
const SAMPLES_MAX: usize = 2 * 48_000 * 600;

/// A recording at a rate that the model supports.
#[derive(Debug, PartialEq)]
pub struct Recording {
    /// Samples per second: 8000 or 16000.
    pub rate: u32,
    /// From -1 to 1.
    pub samples: Vec<f32>,
}

/// Samples of a window, which the model gets at a time: 32 milliseconds.
pub fn window(rate: u32) -> usize {
    if rate == 16_000 { 512 } else { 256 }
}

impl Recording {
    /// Samples of a window.
    pub fn window(&self) -> usize {
        window(self.rate)
    }

    /// The windows in order. The last may be shorter.
    pub fn windows(&self) -> impl Iterator<Item = &[f32]> {
        self.samples.chunks(self.window())
    }
}

/// Reads a file.
pub fn read(file: &[u8]) -> Result<Recording, String> {
    let Some((b"RIFF", rest)) = file.split_first_chunk::<4>() else {
        return Err("this is no WAV file: it does not begin with `RIFF`".to_owned());
    };
    let Some(b"WAVE") = rest.get(4..8) else {
        return Err("this is a RIFF file, but no WAV file".to_owned());
    };
    let mut format = None;
    let mut rest = &rest[8..];
    while let Some((name, behind)) = rest.split_first_chunk::<4>() {
        let (size, behind) = behind.split_first_chunk::<4>().ok_or("a chunk has no size")?;
        let size = u32::from_le_bytes(*size) as usize;
        // Programs that write to a pipe do not know the length in advance.
        let body = behind.get(..size).or((name == b"data").then_some(behind));
        let body = body
            .ok_or_else(|| format!("a chunk of {size} bytes is cut off after {}", behind.len()))?;
        match name {
            b"fmt " => format = Some(Format::read(body)?),
            b"data" => return format.ok_or("the sound comes before its format")?.decode(body),
            _ => {}
        }
        // Chunks begin at even offsets.
        rest = behind.get(size + size % 2..).unwrap_or_default();
    }
    Err("the file has no sound".to_owned())
}

struct Format {
    channels: usize,
    rate: u32,
}

impl Format {
    fn read(chunk: &[u8]) -> Result<Self, String> {
        let Some(fields) = chunk.first_chunk::<16>() else {
            return Err("the format is cut off".to_owned());
        };
        let short = |at: usize| u16::from_le_bytes([fields[at], fields[at + 1]]);
        let rate = u32::from_le_bytes([fields[4], fields[5], fields[6], fields[7]]);
        let (codec, channels, bits) = (short(0), short(2), short(14));
        // The second number says that the real format comes later. It is nearly always PCM. Otherwise, the samples are noise.
        if !matches!(codec, 1 | 0xfffe) || bits != 16 {
            return Err(format!("codec {codec} with {bits} bits: send PCM of 16 bits"));
        }
        if channels == 0 {
            return Err("there are no channels".to_owned());
        }
        if rate != 8_000 && (rate == 0 || rate % 16_000 != 0) {
            return Err(format!("{rate} Hz: send 8000 Hz or a multiple of 16000 Hz"));
        }
        Ok(Self { channels: channels.into(), rate })
    }

    fn decode(&self, sound: &[u8]) -> Result<Recording, String> {
        let count = sound.len() / 2;
        if count > SAMPLES_MAX {
            return Err(format!("{count} samples, more than the {SAMPLES_MAX} of one call"));
        }
        let (rate, step) = match self.rate {
            8_000 => (8_000, 1),
            rate => (16_000, (rate / 16_000) as usize),
        };
        let frames = sound.chunks_exact(2 * self.channels).step_by(step);
        let samples = frames.map(|frame| {
            let samples = frame.chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]]));
            samples.map(|sample| f32::from(sample) / 32_768.0).sum::<f32>() / self.channels as f32
        });
        Ok(Recording { rate, samples: samples.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(name: &[u8], body: &[u8]) -> Vec<u8> {
        let padding = if body.len() % 2 == 1 { &[0][..] } else { &[] };
        [name, &(body.len() as u32).to_le_bytes(), body, padding].concat()
    }

    fn format(codec: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
        let [codec, channels, bits] = [codec, channels, bits].map(u16::to_le_bytes);
        chunk(b"fmt ", &[&codec[..], &channels, &rate.to_le_bytes(), &[0; 6], &bits].concat())
    }

    fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
        [b"RIFF\0\0\0\0WAVE".to_vec(), chunks.concat()].concat()
    }

    fn pcm(samples: &[i16]) -> Vec<u8> {
        chunk(b"data", &samples.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<_>>())
    }

    #[test]
    fn samples_are_read_between_other_chunks() {
        let odd = chunk(b"LIST", b"abc");
        let wav = file(&[odd.clone(), format(1, 1, 8_000, 16), odd, pcm(&[0, 16_384, -32_768])]);
        let recording = read(&wav).expect("a recording");
        assert_eq!(recording, Recording { rate: 8_000, samples: vec![0.0, 0.5, -1.0] });
        assert_eq!(recording.windows().count(), 1);
    }

    #[test]
    fn channels_are_averaged_and_high_rates_thinned_out() {
        let wav = file(&[format(1, 2, 48_000, 16), pcm(&[16_384, 0, 1, 1, 1, 1, -16_384, 0])]);
        let recording = read(&wav).expect("a recording");
        assert_eq!(recording, Recording { rate: 16_000, samples: vec![0.25, -0.25] });
    }

    #[test]
    fn a_pipe_s_file_ends_where_it_ends() {
        let mut wav = file(&[format(1, 1, 16_000, 16)]);
        wav.extend_from_slice(b"data\xff\xff\xff\xff\x00\x40");
        assert_eq!(read(&wav).expect("a recording").samples, [0.5]);
    }

    #[test]
    fn what_is_no_such_file_is_refused_with_the_reason() {
        let good = file(&[format(1, 1, 16_000, 16), pcm(&[1])]);
        for cut in 0..good.len() - 2 {
            read(&good[..cut]).expect_err("cut off");
        }
        for (wav, said) in [
            (file(&[pcm(&[1])]), "before its format"),
            (file(&[format(3, 1, 16_000, 32), pcm(&[1])]), "codec 3 with 32 bits"),
            (file(&[format(1, 0, 16_000, 16), pcm(&[1])]), "no channels"),
            (file(&[format(1, 1, 44_100, 16), pcm(&[1])]), "44100 Hz"),
            (file(&[format(1, 1, 0, 16), pcm(&[1])]), "0 Hz"),
            (file(&[format(1, 1, 16_000, 16)]), "no sound"),
        ] {
            let error = read(&wav).expect_err(said);
            assert!(error.contains(said), "{error}");
        }
    }
}
