//! A copy of the workspace that may be changed. Files keep their times while they stay as they are, so that cargo builds
//! only what a mutant changes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::Edit;

pub struct Copy {
    from: PathBuf,
    to: PathBuf,
    files: Vec<PathBuf>,
}

impl Copy {
    /// Copies what is needed to build. What an earlier copy has and `from` has not is removed.
    pub fn of(from: &Path, to: &Path) -> Result<Self> {
        let mut files = Vec::new();
        find(from, Path::new(""), &mut files)?;
        let copy = Self { from: from.to_owned(), to: to.to_owned(), files };
        if to.exists() {
            let mut before = Vec::new();
            find(to, Path::new(""), &mut before)?;
            for gone in before.iter().filter(|file| !copy.files.contains(file)) {
                fs::remove_file(to.join(gone))?;
            }
        }
        copy.restore()?;
        Ok(copy)
    }

    pub fn folder(&self) -> &Path {
        &self.to
    }

    /// Makes all files as they are in the workspace.
    pub fn restore(&self) -> Result<()> {
        for file in &self.files {
            let (whole, copy) = (fs::read(self.from.join(file))?, self.to.join(file));
            if fs::read(&copy).is_ok_and(|now| now == whole) {
                continue;
            }
            fs::create_dir_all(copy.parent().context("a file is in a folder")?)?;
            fs::write(copy, whole)?;
        }
        Ok(())
    }

    /// Replaces a piece of text, which must be there exactly once: otherwise the mutant is out of date.
    pub fn edit(&self, edit: &Edit) -> Result<()> {
        let path = self.to.join(edit.file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", edit.file))?;
        let count = text.matches(edit.from).count();
        ensure!(count == 1, "{} has this {count} times, not once:\n{}", edit.file, edit.from);
        fs::write(path, text.replacen(edit.from, edit.to, 1))?;
        Ok(())
    }
}

/// All files below `folder` of `root`, without what is built and what is hidden.
fn find(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), folder.join(entry.file_name()));
        let hidden = name.to_string_lossy().starts_with('.') && name != ".cargo";
        if hidden || name == "target" || name == "node_modules" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            find(root, &path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::ALL;

    /// So that a change of the product shows at once which mutant has to follow it.
    #[test]
    fn every_mutant_fits_the_source() {
        let root = testkit::workspace();
        for mutant in ALL {
            for edit in mutant.edits {
                let text = fs::read_to_string(root.join(edit.file)).unwrap();
                assert_eq!(text.matches(edit.from).count(), 1, "{}: {}\n{}", mutant.name, edit.file, edit.from);
            }
        }
    }
}
