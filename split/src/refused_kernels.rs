// SPDX-License-Identifier: GPL-3.0-or-later
//! Kernels that users other than root have uploaded and that were refused.
//!
//! Each upload is a new file, so the cache of kernels, which knows files, would have the same
//! kernel unpacked again at each attempt.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use chaos::image::{ImageError, RefusedKernel, SizeLimit};

use crate::uploads::{Content, UploadedFile};

/// The most kernels of a user that are remembered.
const MAX_REFUSED: usize = 16;

/// The kernels of each user that were refused last.
#[derive(Debug, Default)]
pub(crate) struct RefusedKernels(HashMap<u32, VecDeque<Refused>>);

#[derive(Debug)]
struct Refused {
    content: Content,
    kernel: RefusedKernel,
}

impl RefusedKernels {
    /// Remembers why a kernel was refused, if that is due to its content.
    pub(crate) fn note(&mut self, file: &UploadedFile, limit: SizeLimit, error: &ImageError) {
        let (Some(content), ImageError::Remembered(reason)) = (file.content(), error) else {
            return;
        };
        let of_user = self.0.entry(file.uid()).or_default();
        of_user.retain(|refused| refused.content != content);
        of_user.truncate(MAX_REFUSED - 1);
        let kernel = RefusedKernel::new(Arc::clone(reason), limit, Instant::now());
        of_user.push_front(Refused { content, kernel });
    }

    /// Returns why a kernel was refused before and would be with this limit now, too.
    pub(crate) fn find(&self, file: &UploadedFile, limit: SizeLimit) -> Option<ImageError> {
        let content = file.content()?;
        let mut of_user = self.0.get(&file.uid())?.iter();
        let refused = of_user.find(|refused| refused.content == content)?;
        refused.kernel.error(limit, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use chaos::image::{Image, ImageCache, ImageKey};
    use xen::units::KiB;

    use super::*;
    use crate::settings::MemberLimits;
    use crate::uploads::Uploads;

    fn upload(uploads: &Uploads, uid: u32, bytes: &[u8]) -> Arc<UploadedFile> {
        let limits = MemberLimits::default();
        let mut upload = uploads.begin(uid, bytes.len() as u64, &limits).unwrap();
        assert!(upload.append(bytes).unwrap());
        uploads.complete(upload).unwrap()
    }

    /// Returns what the service gets for a kernel that was read.
    fn read(file: &UploadedFile) -> ImageError {
        let key = ImageKey::of(file.file()).unwrap();
        let read = Image::read(file.file(), key, SizeLimit::MOST);
        ImageCache::new(0).keep(key, SizeLimit::MOST, read).unwrap_err()
    }

    #[test]
    fn a_refused_kernel_that_is_uploaded_again_is_not_unpacked_again() {
        let (uploads, mut refused) = (Uploads::default(), RefusedKernels::default());
        let kernel = upload(&uploads, 7, b"not a kernel");
        assert!(refused.find(&kernel, SizeLimit::MOST).is_none());
        let error = read(&kernel);
        refused.note(&kernel, SizeLimit::MOST, &error);
        drop(kernel);
        let again = upload(&uploads, 7, b"not a kernel");
        let found = refused.find(&again, SizeLimit::MOST).unwrap();
        assert_eq!(found.to_string(), error.to_string());
        assert!(refused.find(&upload(&uploads, 7, b"not a KERNEL"), SizeLimit::MOST).is_none());
        let of_other = upload(&uploads, 8, b"not a kernel");
        assert!(
            refused.find(&of_other, SizeLimit::MOST).is_none(),
            "users learn nothing of others"
        );
        refused.note(&again, SizeLimit::MOST, &ImageError::Changed);
        assert!(refused.find(&again, SizeLimit::MOST).is_some());
        for number in 0..MAX_REFUSED {
            refused.note(&upload(&uploads, 7, &number.to_le_bytes()), SizeLimit::MOST, &error);
        }
        assert!(refused.find(&again, SizeLimit::MOST).is_none(), "only the last are remembered");
        assert_eq!(refused.0[&7].len(), MAX_REFUSED);
    }

    #[test]
    fn a_kernel_that_was_too_large_for_a_guest_is_read_again_for_a_larger_one() {
        let (uploads, mut refused) = (Uploads::default(), RefusedKernels::default());
        let kernel = upload(&uploads, 7, b"large");
        let [small, middle, large] = [1, 2, 3].map(|mib| SizeLimit::of_guest(KiB(mib << 10)));
        let reason = ImageError::TooLargeForGuest { what: "kernel", limit: middle };
        refused.note(&kernel, middle, &ImageError::Remembered(Arc::new(reason)));
        assert!(refused.find(&kernel, small).is_some() && refused.find(&kernel, middle).is_some());
        assert!(refused.find(&kernel, large).is_none());
    }
}
