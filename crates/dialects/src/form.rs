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
    #[error("the value of `model` or `stream` is too long, is not plain UTF-8 text, or comes as a file")]
    BadValue,
    /// A field that some servers take for one that decides, or that changes how they read those.
    #[error("a field is `model` or `stream` in another spelling, or `_charset_`; leave it out")]
    Spelling,
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
    /// What the part says of its own length, and how much of it has gone by.
    declared: Option<u64>,
    gone: u64,
    /// The value is read alike only if it is ASCII.
    needs_ascii: bool,
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
            declared: None,
            gone: 0,
            needs_ascii: false,
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
        let part = Part::read(head)?;
        let field = part.field()?;
        let is_again = match field {
            Field::Model => self.model.is_some(),
            Field::Stream => self.stream.is_some(),
            Field::Other => false,
        };
        if is_again {
            return Err(FormProblem::Duplicate);
        }
        if field != Field::Other {
            let kind = part.text_kind().filter(|_| !part.is_file && !part.is_encoded);
            self.needs_ascii = kind.ok_or(FormProblem::BadValue)? == TextKind::Ascii;
        }
        self.seen_file |= part.is_file;
        (self.declared, self.gone) = (part.length, 0);
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
            self.gone += done as u64;
            return Ok(if done == 0 { None } else { bytes.get(done..) });
        };
        let value = bytes.get(2..at).unwrap_or_default();
        // A parser that believes a part's own length would find other parts than one that looks for the boundary.
        // The line end before the value is counted with it.
        if self.declared.is_some_and(|declared| declared + 2 != self.gone + at as u64) {
            return Err(FormProblem::Framing);
        }
        if field != Field::Other {
            self.note(field, value)?;
        }
        self.state = State::Behind;
        Ok(bytes.get(at + self.delimiter.needle().len()..))
    }

    fn note(&mut self, field: Field, value: &[u8]) -> Result<(), FormProblem> {
        let text = std::str::from_utf8(value).map_err(|_| FormProblem::BadValue)?;
        if self.needs_ascii && !text.is_ascii() {
            return Err(FormProblem::BadValue);
        }
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

/// The head of a part.
#[derive(Default)]
struct Part<'h> {
    name: &'h str,
    is_file: bool,
    is_encoded: bool,
    content_type: Option<&'h str>,
    length: Option<u64>,
}

/// How a value of text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextKind {
    Utf8,
    /// In an encoding of which only the ASCII part is UTF-8 too.
    Ascii,
}

impl<'h> Part<'h> {
    /// Lines end with CRLF; nothing is folded.
    fn read(head: &'h [u8]) -> Result<Self, FormProblem> {
        let text = std::str::from_utf8(head).map_err(|_| FormProblem::PartHead)?;
        let mut part = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for line in text.split("\r\n") {
            let (header, value) = line.split_once(':').ok_or(FormProblem::PartHead)?;
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            let is_sound = !header.is_empty() && header.bytes().all(token);
            let is_again = seen.iter().any(|seen| seen.eq_ignore_ascii_case(header));
            let has_control = value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t');
            if !is_sound || is_again || has_control {
                return Err(FormProblem::PartHead);
            }
            seen.push(header);
            part.take(header, value.trim_matches([' ', '\t']))?;
        }
        if part.name.is_empty() { Err(FormProblem::PartHead) } else { Ok(part) }
    }

    fn take(&mut self, header: &str, value: &'h str) -> Result<(), FormProblem> {
        match header.to_ascii_lowercase().as_str() {
            "content-disposition" => {
                (self.name, self.is_file) = disposition(value).ok_or(FormProblem::PartHead)?;
            }
            "content-transfer-encoding" | "content-encoding" => self.is_encoded = true,
            "content-type" => {
                // Some parsers look for parts within such a part.
                if strip_prefix_ignoring_case(value, "multipart/").is_some() {
                    return Err(FormProblem::PartHead);
                }
                self.content_type = Some(value);
            }
            "content-length" => {
                let is_plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                let length = if is_plain { value.parse().ok() } else { None };
                self.length =
                    Some(length.filter(|length| *length < u64::MAX / 2).ok_or(FormProblem::PartHead)?);
            }
            _ => {}
        }
        Ok(())
    }

    fn field(&self) -> Result<Field, FormProblem> {
        // Some servers fold case, and some take `model[]` and `model.0` for `model`.
        let stem = self.name.split(['[', '.']).next().unwrap_or_default();
        match self.name {
            "model" => Ok(Field::Model),
            "stream" => Ok(Field::Stream),
            _ if ["model", "stream", "_charset_"].iter().any(|name| stem.eq_ignore_ascii_case(name)) => {
                Err(FormProblem::Spelling)
            }
            _ => Ok(Field::Other),
        }
    }

    /// How the value is written, if it is text that every parser reads alike.
    fn text_kind(&self) -> Option<TextKind> {
        let Some(content_type) = self.content_type else { return Some(TextKind::Utf8) };
        let mut rest = strip_prefix_ignoring_case(content_type, "text/plain")?;
        let mut kind = TextKind::Utf8;
        while let Some((key, value, behind)) = parameter(rest)? {
            rest = behind;
            kind = match (key.to_ascii_lowercase().as_str(), value.to_ascii_lowercase().as_str()) {
                ("charset", "utf-8" | "utf8") => TextKind::Utf8,
                ("charset", "us-ascii" | "iso-8859-1" | "windows-1252") => TextKind::Ascii,
                _ => return None,
            };
        }
        Some(kind)
    }
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

/// That content type with its boundary and nothing else: a `charset` would change how some parsers read names and
/// values, and a second spelling of the boundary where they cut.
pub(crate) fn plain(content_type: &str) -> Option<String> {
    let boundary = boundary(content_type)?;
    let is_token = boundary.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"'+_-.".contains(&byte));
    let quote = if is_token { "" } else { "\"" };
    Some(format!("multipart/form-data; boundary={quote}{boundary}{quote}"))
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
    fn fields_that_a_server_could_take_for_the_model_are_refused() {
        let end = "--XX--\r\n";
        for name in
            ["Model", "model[]", "model[0]", "MODEL.x", "Stream", "stream[]", "_charset_", "_Charset_"]
        {
            let form = part(&format!("form-data; name=\"{name}\""), "a") + end;
            assert_eq!(read(&form, 7).err(), Some(FormProblem::Spelling), "{name}");
        }
        for name in ["models", "model_id", "streams", "charset"] {
            assert!(read(&(part(&format!("form-data; name=\"{name}\""), "a") + end), 7).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_a_part_says_of_its_value_is_heeded() {
        let of = |more: &str, value: &str| {
            let form = part(&format!("form-data; name=\"model\"\r\n{more}"), value) + "--XX--\r\n";
            [1, form.len()].map(|cut| read(&form, cut).map(|reader| reader.model().map(str::to_owned)))
        };
        for (more, value) in [
            ("Content-Type: text/plain", "payr\u{f6}ll"),
            ("Content-Type: text/plain; charset=UTF-8", "payr\u{f6}ll"),
            ("Content-Type: text/plain; charset=ISO-8859-1", "payroll"),
            ("Content-Type: text/plain;charset=\"us-ascii\"\r\nContent-Length: 7", "payroll"),
            ("Content-Length: 0", ""),
        ] {
            assert_eq!(of(more, value), [Ok(Some(value.to_owned())), Ok(Some(value.to_owned()))], "{more}");
        }
        for (more, value, problem) in [
            ("Content-Type: text/plain; charset=utf-7", "+AHA-ayroll", FormProblem::BadValue),
            ("Content-Type: text/plain; charset=utf-16", "a", FormProblem::BadValue),
            ("Content-Type: text/plain; charset=iso-8859-1", "payr\u{f6}ll", FormProblem::BadValue),
            ("Content-Type: application/json", "\"payroll\"", FormProblem::BadValue),
            ("Content-Encoding: gzip", "a", FormProblem::BadValue),
            ("Content-Length: 3", "payroll", FormProblem::Framing),
            ("Content-Length: 8", "payroll", FormProblem::Framing),
            ("Content-Length: +7", "payroll", FormProblem::PartHead),
            ("Content-Length: 99999999999999999999", "payroll", FormProblem::PartHead),
            (
                "Content-Type: text/plain\r\nContent-Type: text/plain; charset=utf-7",
                "a",
                FormProblem::PartHead,
            ),
        ] {
            assert_eq!(of(more, value), [Err(problem), Err(problem)], "{more}");
        }
    }

    #[test]
    fn the_length_of_a_long_part_is_checked_however_it_is_cut() {
        let value = "x".repeat(3000);
        for (length, is_right) in [(3000, true), (2999, false), (3001, false)] {
            let head = format!("form-data; name=\"file\"; filename=\"a\"\r\nContent-Length: {length}");
            let form = part(&head, &value) + "--XX--\r\n";
            for cut in [1, 11, 1000, form.len()] {
                assert_eq!(read(&form, cut).is_ok(), is_right, "{length} cut {cut}");
            }
        }
        let nested = part("form-data; name=\"x\"\r\nContent-Type: Multipart/Mixed; boundary=YY", "a");
        assert_eq!(read(&nested, 5).err(), Some(FormProblem::PartHead));
    }

    #[test]
    fn what_is_sent_says_the_boundary_and_nothing_else() {
        for (content_type, wanted) in [
            ("multipart/form-data; charset=utf-7; boundary=abc", Some("multipart/form-data; boundary=abc")),
            ("Multipart/Form-Data;boundary=\"a=b\"; x=y", Some("multipart/form-data; boundary=\"a=b\"")),
            ("multipart/form-data; boundary=a; boundary*0=b", Some("multipart/form-data; boundary=a")),
            ("multipart/mixed; boundary=abc", None),
        ] {
            assert_eq!(plain(content_type).as_deref(), wanted, "{content_type}");
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
