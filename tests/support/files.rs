//! The content of file servers inside: configuration files over TFTP's HTTP ports, and photos.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::world::World;

/// What UCM serves on 6970 and 6972, by path.
#[must_use]
pub fn configuration(world: &World) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let chat = world.im_presence.first().map_or("", |node| &node.host);
    files.insert(
        "/SPDefault.cnf.xml".to_owned(),
        format!(
            "{DECLARATION}<SPConfig><Presence><Primary>{chat}</Primary></Presence>\
             <Voicemail><Primary>unity.{}</Primary></Voicemail></SPConfig>\n",
            world.domain
        ),
    );
    files.insert(
        "/jabber-config.xml".to_owned(),
        format!(
            "{DECLARATION}<config version=\"1.0\"><Directory><PhotoURI>\
             https://{}:{}/photos/%%uid%%.jpg</PhotoURI></Directory></config>\n",
            world.photos.host, world.ports.photos
        ),
    );
    for user in &world.users {
        for device in &user.devices {
            files.insert(
                format!("/{}.cnf.xml", device.name),
                format!(
                    "{DECLARATION}<device><deviceProtocol>SIP</deviceProtocol><line>{}</line>\
                     <product>{}</product></device>\n",
                    user.number, device.model
                ),
            );
        }
    }
    files
        .into_iter()
        .map(|(path, text)| (path, text.into_bytes()))
        .collect()
}

/// What the photo server has, by path: `/photos/<user id>.jpg`.
#[must_use]
pub fn photos(world: &World) -> BTreeMap<String, Vec<u8>> {
    world
        .users
        .iter()
        .map(|user| (format!("/photos/{}.jpg", user.id), photo(&user.id)))
        .collect()
}

/// A JPEG of one white pixel that carries a comment, so that no two photos are alike.
fn photo(comment: &str) -> Vec<u8> {
    let pixel = BASE64.decode(WHITE_PIXEL).expect("a constant");
    let (start_of_image, rest) = pixel.split_at(2);
    let length = u16::try_from(comment.len() + 2).expect("user ids are short");
    let mut photo = start_of_image.to_vec();
    photo.extend_from_slice(&[0xff, 0xfe]);
    photo.extend_from_slice(&length.to_be_bytes());
    photo.extend_from_slice(comment.as_bytes());
    photo.extend_from_slice(rest);
    photo
}

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

const WHITE_PIXEL: &str = "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////////////wgALCAABAAEBAREA/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPxA=";
