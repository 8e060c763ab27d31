//! Changes of a picture that keep what it shows.

use hospes_training::native::Augment;

use crate::data::Picture;
use crate::random::Random;

/// A changed copy: a part of it enlarged, mirrored, moved. What comes in from outside is 0.
pub fn change(picture: &[u8], shape: Picture, augment: Augment, random: &mut Random) -> Vec<u8> {
    let Picture { height, width, channels, .. } = shape;
    // Drawn in any case, so that one change does not decide what another does.
    let shift = augment.shift as isize;
    let mut moved = || random.below(2 * augment.shift + 1) as isize - shift;
    let (down, right) = (moved(), moved());
    let most = augment.crop.min((height.min(width) - 1) / 2);
    let mut cut = || random.below(most + 1);
    let (top, bottom, left, side) = (cut(), cut(), cut(), cut());
    let mirrored = random.below(2) == 1 && augment.flip;
    let (kept_height, kept_width) = (height - top - bottom, width - left - side);
    let mut changed = vec![0; picture.len()];
    for y in 0..height {
        for x in 0..width {
            let (from_y, from_x) = (y as isize - down, x as isize - right);
            let inside =
                (0..height as isize).contains(&from_y) && (0..width as isize).contains(&from_x);
            if !inside {
                continue;
            }
            let from_x = if mirrored { width - 1 - from_x as usize } else { from_x as usize };
            let from_y = top + from_y as usize * kept_height / height;
            let from_x = left + from_x * kept_width / width;
            let (to, from) = ((y * width + x) * channels, (from_y * width + from_x) * channels);
            changed[to..to + channels].copy_from_slice(&picture[from..from + channels]);
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Use;

    const SHAPE: Picture = Picture { height: 4, width: 4, channels: 1, names_channels: false };

    fn changes(augment: Augment) -> Vec<Vec<u8>> {
        let picture: Vec<u8> = (1..17).collect();
        let change = |row| {
            change(&picture, SHAPE, augment, &mut Random::new(3, Use::Change { epoch: 1, row }))
        };
        (0..200).map(change).collect()
    }

    #[test]
    fn nothing_asked_changes_nothing() {
        assert!(
            changes(Augment::default()).iter().all(|changed| changed.iter().copied().eq(1..17))
        );
    }

    #[test]
    fn half_are_mirrored() {
        let changed = changes(Augment { flip: true, ..Augment::default() });
        let mirrored = changed.iter().filter(|changed| changed[..4] == [4, 3, 2, 1]).count();
        assert!((70..130).contains(&mirrored), "{mirrored}");
        assert_eq!(
            changed.iter().filter(|changed| changed[..4] == [1, 2, 3, 4]).count(),
            200 - mirrored
        );
    }

    #[test]
    fn shifts_move_whole_pictures_and_crops_enlarge() {
        for changed in changes(Augment { shift: 1, ..Augment::default() }) {
            let at = changed.iter().position(|pixel| *pixel == 6).expect("the middle stays");
            assert!([0, 1, 2, 4, 5, 6, 8, 9, 10].contains(&at), "{changed:?}");
        }
        let crops = changes(Augment { crop: 1, ..Augment::default() });
        assert!(crops.iter().all(|changed| changed.iter().all(|pixel| (1..17).contains(pixel))));
        assert!(crops.iter().any(|changed| changed[0] == 6));
    }
}
