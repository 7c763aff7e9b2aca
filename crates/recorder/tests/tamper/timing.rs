//! Whoever has the root key can open a body, say that its frames came at other times, and seal it again.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use gatewayd_recorder::verify::Damage;
use rusqlite::{Connection, OptionalExtension as _};

use crate::bodies::{block_ranges, with_checksum};
use crate::victim::{Random, Victim, each};

pub fn changed(rounds: usize) {
    let segments = Victim::copy().segments();
    each(rounds, "timing edit", (14, &[Damage::BodyAltered]), |v, random| {
        let database = v.database();
        loop {
            let name = *random.pick(&segments);
            let mut bytes = v.original(name).to_vec();
            let range = random.pick(&block_ranges(&bytes)).clone();
            // The sessions that were erased have no key any more.
            let Some(block) = delayed(v, &database, random, &bytes[range.clone()]) else { continue };
            bytes.splice(range, block);
            std::fs::write(v.path(name), bytes).unwrap();
            return;
        }
    });
}

/// The block, whose first frame came a little later; it opens as well as the old one.
fn delayed(victim: &Victim, database: &Connection, random: &mut Random, block: &[u8]) -> Option<Vec<u8>> {
    let (flags, id) = (block[1], &block[2..18]);
    let mut rest = &block[18..];
    let number = varint(&mut rest);
    let length = varint(&mut rest);
    let head = &block[..block.len() - rest.len()];
    assert!(rest.len() == 4 + length && flags & 4 == 0, "these bodies have one block each way");
    let key = session_key(victim, database, id)?;
    let mut nonce = [0; 12];
    nonce[0] = flags & 1;
    nonce[4..].copy_from_slice(&(number as u64).to_be_bytes());
    let mut sealed = rest[4..].to_vec();
    let opened = open(&key, nonce, head, &mut sealed).expect("the format is as the page says");
    let text = if flags & 2 == 0 { opened } else { zstd::bulk::decompress(&opened, 1 << 20).unwrap() };

    let mut later = text.as_slice();
    let fields = if flags & 8 == 0 { Vec::new() } else { fields(&mut later) };
    let table_length = varint(&mut later);
    let (mut table, data) = later.split_at(table_length);
    let delta = varint(&mut table) + 1 + random.below(1_000_000);
    let table = [put_varint(delta), table.to_vec()].concat();
    let mut text = [fields, put_varint(table.len()), table, data.to_vec()].concat();
    if flags & 2 != 0 {
        text = zstd::bulk::compress(&text, 1).unwrap();
    }
    let (number, length) = (put_varint(number), put_varint(text.len() + 16));
    let head = [&block[..18], &number, &length].concat();
    let aad = Aad::from(head.as_slice());
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut text).unwrap();
    Some(with_checksum(&head, &text))
}

/// The header fields before the frames, with their length.
fn fields(text: &mut &[u8]) -> Vec<u8> {
    let all = *text;
    let length = varint(text);
    *text = &text[length..];
    all[..all.len() - text.len()].to_vec()
}

fn session_key(victim: &Victim, database: &Connection, id: &[u8]) -> Option<LessSafeKey> {
    let found = database.query_row(
        "SELECT k.wrapped, s.wrapped, l.text FROM sessions JOIN session_keys k USING (number)
         JOIN subject_keys s ON s.subject = k.subject JOIN labels l ON l.id = k.subject WHERE sessions.id = ?1",
        [id],
        |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, String>(2)?)),
    );
    let (session, subject, label) = found.optional().unwrap()?;
    let root = hex::decode(std::fs::read_to_string(victim.path("root.key")).unwrap().trim_end()).unwrap();
    let subject = unwrap(&key(&root), &[b"gatewayd subject ", label.as_bytes()].concat(), &subject);
    Some(unwrap(&subject, &[b"gatewayd session ", id].concat(), &session))
}

fn key(secret: &[u8]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret).unwrap())
}

fn unwrap(above: &LessSafeKey, purpose: &[u8], wrapped: &[u8]) -> LessSafeKey {
    let (nonce, sealed) = wrapped.split_at(12);
    key(&open(above, nonce.try_into().unwrap(), purpose, &mut sealed.to_vec()).unwrap())
}

fn open(key: &LessSafeKey, nonce: [u8; 12], aad: &[u8], sealed: &mut [u8]) -> Option<Vec<u8>> {
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.open_in_place(nonce, Aad::from(aad), sealed).ok().map(|opened| opened.to_vec())
}

fn varint(bytes: &mut &[u8]) -> usize {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

fn put_varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 & 0x7F | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}
