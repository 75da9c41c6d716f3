//! What the check can find: a closed list. Each kind has a severity, a name that programs can rely on, and one text that says
//! what it means and what to do.

use serde::{Serialize, Serializer};

/// How serious a finding is. The order is that of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Something that was acknowledged or committed is missing, altered or unreadable.
    Damage,
    /// Harmless: takes space, or misleads a counter.
    Leftover,
    /// What the server does by itself, at its next start or sweep.
    Due,
    /// Worth knowing; nothing has to be done.
    Note,
}

impl Severity {
    /// All of them, in the order of reports.
    pub const ALL: [Severity; 4] = [Self::Damage, Self::Leftover, Self::Due, Self::Note];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Damage => "damage",
            Self::Leftover => "leftover",
            Self::Due => "due",
            Self::Note => "note",
        }
    }
}

macro_rules! kinds {
    ($($variant:ident $name:literal $severity:ident $advice:literal)*) => {
        /// A kind of finding.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = $advice] $variant,)*
        }

        impl Kind {
            /// Every kind, the most serious first.
            pub const ALL: &[Kind] = &[$(Self::$variant),*];

            /// The name in reports.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How serious it is.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }

            /// What it means, and what to do.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* }
            }
        }
    };
}

kinds! {
    RecordUnreadable "record_unreadable" Damage
        "A record of the journal cannot be read. If it says a newer version, start the calve that wrote it; else restore the data folder from a backup."
    StagedFileMissing "staged_file_missing" Damage
        "The bytes of an acknowledged part are gone. Have the part uploaded again, or restore the file from a backup."
    StagedFileSize "staged_file_size" Damage
        "The bytes of an acknowledged part are not as many as were acknowledged. Have the part uploaded again, or restore the file from a backup."
    StagedFileChecksum "staged_file_checksum" Damage
        "The bytes of an acknowledged part are not the ones that were acknowledged. Have the part uploaded again, or restore the file from a backup."
    EarlyFileMissing "early_file_missing" Damage
        "The data file that was made from a part on arrival is gone, so its session cannot be committed. Have the part uploaded again."
    EarlyFileSize "early_file_size" Damage
        "The data file that was made from a part on arrival has another size than recorded. Have the part uploaded again before the session is committed."
    EarlyFileUnreadable "early_file_unreadable" Damage
        "The data file that was made from a part on arrival cannot be read. Have the part uploaded again before the session is committed."
    EarlyFileRows "early_file_rows" Damage
        "The data file that was made from a part on arrival has not the part's rows. Have the part uploaded again before the session is committed."
    MetadataMissing "metadata_missing" Damage
        "The metadata file that a table's pointer names is gone, so the table cannot be read. Restore the file from a backup."
    MetadataUnreadable "metadata_unreadable" Damage
        "The metadata file that a table's pointer names cannot be read, nor can the table. Restore the file from a backup."
    MetadataMisplaced "metadata_misplaced" Damage
        "A table's metadata names another folder than the one it should be in. Tables have absolute paths: move the data folder back to where it was."
    ManifestListMissing "manifest_list_missing" Damage
        "The manifest list of a snapshot is gone, so the snapshot cannot be read. Restore the file from a backup."
    ManifestListUnreadable "manifest_list_unreadable" Damage
        "The manifest list of a snapshot cannot be read. Restore the file from a backup."
    ManifestMissing "manifest_missing" Damage
        "A manifest is gone, so the snapshots that need it cannot be read. Restore the file from a backup."
    ManifestSize "manifest_size" Damage
        "A manifest has another size than its manifest list says. Restore the file from a backup."
    ManifestUnreadable "manifest_unreadable" Damage
        "A manifest cannot be read, nor can the snapshots that need it. Restore the file from a backup."
    ManifestCounts "manifest_counts" Damage
        "A manifest does not hold what its manifest list says. Restore both files from a backup."
    DataFileMissing "data_file_missing" Damage
        "A data file of a table is gone; queries that need it fail. Restore the file from a backup, or load its rows again."
    DataFileSize "data_file_size" Damage
        "A data file of a table has another size than its manifest says. Restore the file from a backup, or load its rows again."
    DataFileUnreadable "data_file_unreadable" Damage
        "A data file of a table cannot be read. Restore the file from a backup, or load its rows again."
    DataFileRows "data_file_rows" Damage
        "A data file of a table has another number of rows than its manifest says. Restore the file from a backup, or load its rows again."
    DataFileDoubled "data_file_doubled" Damage
        "A snapshot holds the same data file more than once, so readers find its rows more than once. Keep the folder and report a bug."
    SnapshotCounts "snapshot_counts" Damage
        "A snapshot's totals are not what its manifests hold. Restore the table's metadata folder from a backup."
    SnapshotChainBroken "snapshot_chain_broken" Damage
        "A snapshot's parent is not the snapshot before it, so a commit in between may be lost. Keep the folder and report a bug."
    SessionDoubled "session_doubled" Damage
        "A session is in more than one snapshot, so its rows are there more than once. Keep the folder and report a bug."
    SnapshotOfOpenSession "snapshot_of_open_session" Damage
        "A snapshot holds a session that the journal does not know as committed; another commit of it would double its rows. Keep the folder and report a bug."
    ReceiptSnapshotMissing "receipt_snapshot_missing" Damage
        "A commit was acknowledged, and its snapshot is not in its table. Restore the data folder from a backup."
    ReceiptDiffers "receipt_differs" Damage
        "A commit's snapshot is not what was acknowledged. Keep the folder and report a bug."
    JournalBehindTable "journal_behind_table" Damage
        "A table's folder holds commits that the journal does not know: was the folder `journal` restored from an older backup? Restore the whole data folder from one backup. Until then nothing is removed by --repair."
    TableWithoutPointer "table_without_pointer" Damage
        "A folder holds a published table that the journal does not know: was the folder `journal` restored from an older backup? Restore the whole data folder from one backup. Until then nothing is removed by --repair."
    VersionHintWrong "version_hint_wrong" Damage
        "version-hint.text does not name the current metadata file, so readers without a catalog see another state or none. --repair writes it anew."
    CommitCutOff "commit_cut_off" Leftover
        "A commit was cut off before it published anything. Its session is still open, and the next start of the server removes its files."
    StagedFileUnreferenced "staged_file_unreferenced" Leftover
        "No record refers to this staged file. The sweep of a running server removes it after `cleaning.grace`; --repair removes it now, if it is older than that."
    TableFileUnreferenced "table_file_unreferenced" Leftover
        "No metadata, snapshot or manifest of the table refers to this file; readers never see it. --repair removes it, if it is older than `cleaning.grace`."
    ForeignFile "foreign_file" Leftover
        "Calve does not put files there, and never removes this one. Remove it by hand if nobody needs it."
    RecordUnknown "record_unknown" Leftover
        "The journal has a record of a kind that this calve does not know. If a newer calve used the folder, start that one."
    PartRecordOrphaned "part_record_orphaned" Leftover
        "The journal has records of parts without a session. --repair removes them."
    CounterWrong "counter_wrong" Leftover
        "A counter in the journal is wrong, which only misleads metrics. --repair corrects it."
    SessionToEnd "session_to_end" Due
        "The session's time is over. The next sweep ends it and removes its staged files."
    SessionToForget "session_to_forget" Due
        "The session ended longer ago than `cleaning.retention`. The next sweep forgets it."
    VersionHintDue "version_hint_due" Due
        "A crash came between a commit and the writing of version-hint.text. The next start writes it."
    ExpiredFilesDue "expired_files_due" Due
        "Snapshots of the table expired, and what they alone needed is yet to be removed. A sweep removes it `cleaning.grace` after they expired."
    PartRecordSuperseded "part_record_superseded" Note
        "Rests of longer part records that were replaced. They go when their session is forgotten; --repair removes them now."
    OldMetadataMissing "old_metadata_missing" Note
        "An earlier metadata file that the table's metadata log names is gone. No reader needs it."
    OldMetadataUnlisted "old_metadata_unlisted" Note
        "An earlier metadata file is too old for the table's metadata log. --repair removes it, if it is older than `cleaning.grace`."
}

impl Serialize for Severity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn kinds_have_their_own_names_and_come_by_severity() {
        let names: HashSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        assert!(Kind::ALL.is_sorted_by_key(|kind| kind.severity()));
        for kind in Kind::ALL {
            assert!(kind.advice().ends_with('.'), "{}", kind.name());
        }
    }
}
