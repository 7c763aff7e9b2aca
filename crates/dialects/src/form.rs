//! Reads a multipart form (RFC 7578) as it streams by, to learn which model it names.
//!
//! It accepts only forms that every parser reads alike: no preamble, no epilogue, CRLF line ends, one
//! `Content-Disposition` with one plain `name` in each part. Since it sees each byte before the upstream
//! does, a second `model` far behind the first still stops the request.

use memchr::memmem::Finder;

/// Longest head of a part.
const MAX_PART_HEAD: usize = 8 * 1024;
/// Longest value of a field that is read.
const MAX_VALUE: usize = 1024;

/// Why a form is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormProblem {
    /// The content type is neither a form nor JSON.
    #[error("send `multipart/form-data` with one boundary, or JSON")]
    ContentType,
    /// It is not framed as RFC 7578 wants it.
    #[error(
        "its framing is broken; send plain multipart/form-data with CRLF line ends and nothing around it"
    )]
    Framing,
    /// A part's head is broken or can be read in two ways.
    #[error("the head of a part is broken or too long; name each part once and plainly")]
    PartHead,
    /// A field that decides is there twice.
    #[error("`model` or `stream` is there twice; send each once")]
    Duplicate,
    /// A field that decides has no sound value.
    #[error("the value of `model` or `stream` is too long, is not text, or comes as a file")]
    BadValue,
    /// The model was not named early enough.
    #[error("`model` does not come within the first {0} bytes; put it before the file")]
    ModelTooLate(usize),
    /// It ends before its last boundary.
    #[error("it ends before its closing boundary")]
    Unfinished,
}

/// The state of reading one form.
#[derive(Debug)]
pub(crate) struct FormReader {
    /// `CRLF -- boundary`.
    delimiter: Finder<'static>,
    state: State,
    /// What was taken but not yet understood.
    pending: Vec<u8>,
    model: Option<String>,
    stream: Option<bool>,
    seen_file: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first delimiter.
    Start,
    /// Behind a delimiter: a line end, or `--`.
    Behind,
    /// In the head of a part.
    PartHead,
    /// In the value of a part.
    Value(Field),
    /// Behind the last delimiter.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Model,
    Stream,
    Other,
}

impl FormReader {
    /// For that `Content-Type`.
    pub(crate) fn new(content_type: &str) -> Result<Self, FormProblem> {
        let boundary = boundary(content_type).ok_or(FormProblem::ContentType)?;
        let delimiter = Finder::new(format!("\r\n--{boundary}").as_bytes()).into_owned();
        Ok(Self {
            delimiter,
            state: State::Start,
            pending: Vec::new(),
            model: None,
            stream: None,
            seen_file: false,
        })
    }

    /// The model, once its field was read.
    pub(crate) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The wish for a stream, once its field was read.
    pub(crate) fn stream(&self) -> Option<bool> {
        self.stream
    }

    /// True once nothing more is to be learned before a caller must wait for bulk.
    pub(crate) fn has_enough(&self) -> bool {
        self.state == State::End || (self.model.is_some() && self.seen_file)
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), FormProblem> {
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        while let Some(behind) = self.step(rest)? {
            rest = behind;
        }
        self.pending = rest.to_vec();
        Ok(())
    }

    /// Says whether the form ended as it must.
    pub(crate) fn finish(&self) -> Result<(), FormProblem> {
        match self.state {
            State::End if self.pending.is_empty() => Ok(()),
            _ => Err(FormProblem::Unfinished),
        }
    }

    /// Understands one piece; `None` if more bytes are needed.
    fn step<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, FormProblem> {
        match self.state {
            State::Start => self.start(bytes),
            State::Behind => self.behind(bytes),
            State::PartHead => self.part_head(bytes),
            State::Value(field) => self.value(field, bytes),
            State::End if bytes.is_empty() || bytes == b"\r" || bytes == b"\r\n" => Ok(self.end(bytes)),
            State::End => Err(FormProblem::Framing),
        }
    }

    fn start<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, FormProblem> {
        // The first delimiter has no line end before it.
        let wanted = self.delimiter.needle().get(2..).unwrap_or_default();
        if let Some(rest) = bytes.strip_prefix(wanted) {
            self.state = State::Behind;
            return Ok(Some(rest));
        }
        if wanted.starts_with(bytes) { Ok(None) } else { Err(FormProblem::Framing) }
    }

    fn behind<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, FormProblem> {
        let Some((next, rest)) = bytes.split_first_chunk::<2>() else { return Ok(None) };
        self.state = match next {
            b"\r\n" => State::PartHead,
            b"--" => State::End,
            _ => return Err(FormProblem::Framing),
        };
        Ok(Some(rest))
    }

    fn part_head<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, FormProblem> {
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
            return if bytes.len() > MAX_PART_HEAD { Err(FormProblem::PartHead) } else { Ok(None) };
        };
        if end > MAX_PART_HEAD {
            return Err(FormProblem::PartHead);
        }
        let (head, rest) = bytes.split_at(end);
        let part = part_name(head)?;
        let field = match part.name {
            "model" => Field::Model,
            "stream" => Field::Stream,
            _ => Field::Other,
        };
        let is_again = match field {
            Field::Model => self.model.is_some(),
            Field::Stream => self.stream.is_some(),
            Field::Other => false,
        };
        if is_again {
            return Err(FormProblem::Duplicate);
        }
        if field != Field::Other && (part.is_file || part.is_encoded) {
            return Err(FormProblem::BadValue);
        }
        self.seen_file |= part.is_file;
        self.state = State::Value(field);
        // Two bytes of the four stay: an empty value's delimiter begins with them.
        Ok(rest.get(2..))
    }

    fn value<'b>(&mut self, field: Field, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, FormProblem> {
        let Some(at) = self.delimiter.find(bytes) else {
            if field != Field::Other {
                return if bytes.len() > MAX_VALUE { Err(FormProblem::BadValue) } else { Ok(None) };
            }
            // All but what may be the begin of a delimiter is done with.
            let keep = bytes.len().min(self.delimiter.needle().len() - 1);
            let done = bytes.len() - keep;
            return Ok(if done == 0 { None } else { bytes.get(done..) });
        };
        let value = bytes.get(2..at).unwrap_or_default();
        if field != Field::Other {
            self.note(field, value)?;
        }
        self.state = State::Behind;
        Ok(bytes.get(at + self.delimiter.needle().len()..))
    }

    fn note(&mut self, field: Field, value: &[u8]) -> Result<(), FormProblem> {
        let text = std::str::from_utf8(value).map_err(|_| FormProblem::BadValue)?;
        match field {
            Field::Model => {
                crate::peek::check_model(text).map_err(|_| FormProblem::BadValue)?;
                self.model = Some(text.to_owned());
            }
            Field::Stream => {
                self.stream = Some(match text.to_ascii_lowercase().as_str() {
                    "true" | "1" | "on" | "yes" => true,
                    "false" | "0" | "off" | "no" | "" => false,
                    _ => return Err(FormProblem::BadValue),
                });
            }
            Field::Other => {}
        }
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "a state's step, as the others")]
    fn end<'b>(&mut self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        if bytes == b"\r\n" { bytes.get(2..) } else { None }
    }
}

struct Part<'h> {
    name: &'h str,
    is_file: bool,
    is_encoded: bool,
}

/// Reads the head of a part. Lines end with CRLF; nothing is folded.
fn part_name(head: &[u8]) -> Result<Part<'_>, FormProblem> {
    let text = std::str::from_utf8(head).map_err(|_| FormProblem::PartHead)?;
    let mut name = None;
    let mut is_file = false;
    let mut is_encoded = false;
    for line in text.split("\r\n") {
        let (header, value) = line.split_once(':').ok_or(FormProblem::PartHead)?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_sound = !header.is_empty() && header.bytes().all(token);
        if !is_sound || value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(FormProblem::PartHead);
        }
        if header.eq_ignore_ascii_case("content-disposition") {
            let disposition = disposition(value).ok_or(FormProblem::PartHead)?;
            if name.replace(disposition.0).is_some() {
                return Err(FormProblem::PartHead);
            }
            is_file = disposition.1;
        } else if header.eq_ignore_ascii_case("content-transfer-encoding") {
            is_encoded = true;
        }
    }
    let name = name.ok_or(FormProblem::PartHead)?;
    Ok(Part { name, is_file, is_encoded })
}

/// `form-data; name="x"; filename="y"` gives `x` and whether there is a file name.
fn disposition(value: &str) -> Option<(&str, bool)> {
    let mut rest = strip_prefix_ignoring_case(value.trim_matches([' ', '\t']), "form-data")?;
    let mut name = None;
    let mut is_file = false;
    while let Some((key, value, behind)) = parameter(rest)? {
        rest = behind;
        if key.eq_ignore_ascii_case("name") {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.[]".contains(&byte);
            if value.is_empty() || !value.bytes().all(plain) || name.replace(value).is_some() {
                return None;
            }
        } else if key.eq_ignore_ascii_case("filename") || key.eq_ignore_ascii_case("filename*") {
            is_file = true;
        } else {
            return None;
        }
    }
    name.map(|name| (name, is_file))
}

/// The next `; key=value` of a header; `Some(None)` at its end, `None` if it is broken.
#[expect(clippy::option_option, reason = "the end of a header is not a broken header")]
fn parameter(rest: &str) -> Option<Option<(&str, &str, &str)>> {
    let rest = rest.trim_start_matches([' ', '\t']);
    if rest.is_empty() {
        return Some(None);
    }
    let rest = rest.strip_prefix(';')?.trim_start_matches([' ', '\t']);
    let (key, rest) = rest.split_once('=')?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if key.is_empty() || !key.bytes().all(token) {
        return None;
    }
    if let Some(quoted) = rest.strip_prefix('"') {
        let (value, behind) = quoted.split_once('"')?;
        // Some parsers take `\"` for a quote inside, some for the end.
        return if value.ends_with('\\') { None } else { Some(Some((key, value, behind))) };
    }
    let end = rest.find([';', ' ', '\t']).unwrap_or(rest.len());
    let (value, behind) = rest.split_at(end);
    let sound = !value.is_empty() && value.bytes().all(token);
    if sound { Some(Some((key, value, behind))) } else { None }
}

/// The boundary of a `multipart/form-data` content type.
fn boundary(content_type: &str) -> Option<&str> {
    let mut rest = strip_prefix_ignoring_case(content_type.trim_matches([' ', '\t']), "multipart/form-data")?;
    let mut boundary = None;
    while let Some((key, value, behind)) = parameter(rest)? {
        rest = behind;
        if key.eq_ignore_ascii_case("boundary") && boundary.replace(value).is_some() {
            return None;
        }
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
    boundary.filter(|b| (1..=70).contains(&b.len()) && b.bytes().all(allowed))
}

fn strip_prefix_ignoring_case<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=XX";

    fn part(disposition: &str, value: &str) -> String {
        format!("--XX\r\nContent-Disposition: {disposition}\r\n\r\n{value}\r\n")
    }

    fn read(form: &str, cut: usize) -> Result<FormReader, FormProblem> {
        let mut reader = FormReader::new(TYPE)?;
        for piece in form.as_bytes().chunks(cut) {
            reader.push(piece)?;
        }
        reader.finish().map(|()| reader)
    }

    #[test]
    fn it_finds_the_fields_however_the_form_is_cut() {
        let form = format!(
            "{}{}{}{}--XX--\r\n",
            part("form-data; name=\"file\"; filename=\"a.wav\"", "\r\n--X\r\n--XY-not\r\n".trim_end()),
            part("form-data; name=\"empty\"", ""),
            part("form-data; name=model", "whisper-1"),
            part("Form-Data; name=\"stream\"", "true"),
        );
        let form = form.replace("--XY-not", "--X-not");
        for cut in 1..=form.len() {
            let reader = read(&form, cut).unwrap_or_else(|problem| panic!("cut {cut}: {problem}"));
            assert_eq!(reader.model(), Some("whisper-1"), "cut {cut}");
            assert_eq!(reader.stream(), Some(true), "cut {cut}");
            assert!(reader.has_enough());
        }
    }

    #[test]
    fn what_parsers_read_differently_is_refused() {
        let end = "--XX--\r\n";
        let model = part("form-data; name=\"model\"", "a");
        let cases = [
            (format!("{model}{model}{end}"), FormProblem::Duplicate),
            (format!("preamble\r\n{model}{end}"), FormProblem::Framing),
            (format!("{model}{end}{model}{end}"), FormProblem::Framing),
            (format!("{model}--XX \r\n{end}"), FormProblem::Framing),
            (format!("{model}--XXY\r\n{end}"), FormProblem::Framing),
            (model.clone(), FormProblem::Unfinished),
            (model.replace("\r\n", "\n"), FormProblem::Framing),
            (part("form-data; name=\"mo\\del\"", "a"), FormProblem::PartHead),
            (part("form-data; name=\"m%6fdel\"", "a"), FormProblem::PartHead),
            (part("form-data; name*=utf-8''model", "a"), FormProblem::PartHead),
            (part("form-data; name=\"x\"; name=\"model\"", "a"), FormProblem::PartHead),
            (part("form-data; name=\"x\"; filename=\"a\\\"; name=\\\"model\"", "a"), FormProblem::PartHead),
            (part("form-data; filename=\"a\"", "a"), FormProblem::PartHead),
            (part("attachment; name=\"model\"", "a"), FormProblem::PartHead),
            (part("form-data;\r\n name=\"model\"", "a"), FormProblem::PartHead),
            (part("form-data; name=\"model\"; filename=\"a\"", "a"), FormProblem::BadValue),
            (
                part("form-data; name=\"model\"\r\nContent-Transfer-Encoding: base64", "YQ=="),
                FormProblem::BadValue,
            ),
            (part("form-data; name=\"model\"", &"a".repeat(2000)), FormProblem::BadValue),
            (part("form-data; name=\"model\"", "a\u{7}") + end, FormProblem::BadValue),
            (part("form-data; name=\"stream\"", "perhaps") + end, FormProblem::BadValue),
            (
                part("form-data; name=\"x\"\r\nContent-Disposition: form-data; name=\"model\"", "a"),
                FormProblem::PartHead,
            ),
        ];
        for (form, problem) in cases {
            for cut in [1, 7, form.len()] {
                assert_eq!(read(&form, cut).err(), Some(problem), "{form:?} cut {cut}");
            }
        }
    }

    #[test]
    fn content_types() {
        for (content_type, wanted) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("Multipart/Form-Data;boundary=\"a b\"", None),
            ("multipart/form-data; charset=utf-8; boundary=\"abc\"", Some("abc")),
            ("multipart/form-data; boundary=a; boundary=b", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data", None),
            ("multipart/mixed; boundary=abc", None),
            ("multipart/form-datax; boundary=abc", None),
        ] {
            assert_eq!(boundary(content_type), wanted, "{content_type}");
        }
    }

    #[test]
    fn an_endless_part_head_is_cut_short() {
        let mut reader = FormReader::new(TYPE).expect("a sound type");
        let endless = format!("--XX\r\nX-A: {}", "a".repeat(2 * MAX_PART_HEAD));
        assert_eq!(reader.push(endless.as_bytes()), Err(FormProblem::PartHead));
    }
}
