//! Which manifests of a table become one. Pure.
//!
//! A manifest list with a manifest for each of many appends is slow to write for the next append and slow to plan for readers. A
//! list that is merged whole again and again costs more with each append. So manifests have tiers by the number of their files
//! (powers of `min_count`), and only when a tier has `min_count` of them do these become one, of a higher tier: an entry is
//! written anew once a tier, and a list never has more than `min_count` manifests a tier. Those of half the target size or more
//! are left as they are.

use super::settings::MergeSettings;

/// What merging needs to know of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its place in the list.
    pub index: usize,
    /// Its size.
    pub bytes: u64,
    /// Live files in it.
    pub files: u64,
}

/// The manifests that become one each: places in the list, at least two a merge. No place is there twice.
pub fn merges(candidates: &[Candidate], settings: &MergeSettings) -> Vec<Vec<usize>> {
    if !settings.is_enabled {
        return Vec::new();
    }
    let min_count = settings.min_count.max(2);
    let mut tiers: Vec<Vec<Candidate>> = Vec::new();
    for candidate in candidates {
        if candidate.bytes.saturating_mul(2) <= settings.target_bytes {
            let tier = tier(candidate.files, min_count);
            tiers.resize_with(tiers.len().max(tier + 1), Vec::new);
            tiers[tier].push(*candidate);
        }
    }
    // What a full tier gives counts in the tiers above it.
    let (mut merges, mut merged) = (Vec::new(), Vec::new());
    for (level, tier_members) in tiers.into_iter().enumerate() {
        let reaches = tier(files_of(&merged), min_count) == level && !merged.is_empty();
        if tier_members.len() + usize::from(reaches) >= min_count {
            merged.extend(tier_members);
        } else if reaches {
            merges.extend(bins(std::mem::take(&mut merged), settings.target_bytes));
        }
    }
    merges.extend(bins(merged, settings.target_bytes));
    merges
}

fn files_of(candidates: &[Candidate]) -> u64 {
    candidates.iter().map(|candidate| candidate.files).sum()
}

/// How often `files` can be divided by `min_count`.
fn tier(files: u64, min_count: usize) -> usize {
    let base = u64::try_from(min_count).unwrap_or(u64::MAX);
    files.checked_ilog(base).unwrap_or(0) as usize
}

/// Neighbours whose sizes together are within the target.
fn bins(mut candidates: Vec<Candidate>, target_bytes: u64) -> Vec<Vec<usize>> {
    candidates.sort_by_key(|candidate| candidate.index);
    let (mut bins, mut bin, mut bytes) = (Vec::new(), Vec::new(), 0u64);
    for candidate in candidates {
        if bytes.saturating_add(candidate.bytes) > target_bytes {
            bins.push(std::mem::take(&mut bin));
            bytes = 0;
        }
        bin.push(candidate.index);
        bytes += candidate.bytes;
    }
    bins.push(bin);
    bins.retain(|bin| bin.len() > 1);
    bins
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER_BYTES: u64 = 4000;
    const ENTRY_BYTES: u64 = 300;

    fn settings(min_count: usize, target_bytes: u64) -> MergeSettings {
        MergeSettings {
            is_enabled: true,
            min_count,
            target_bytes,
        }
    }

    fn candidates(list: &[u64]) -> Vec<Candidate> {
        let numbered = list.iter().enumerate();
        let candidate = |(index, files): (usize, &u64)| Candidate {
            index,
            bytes: HEADER_BYTES + files * ENTRY_BYTES,
            files: *files,
        };
        numbered.map(candidate).collect()
    }

    /// A table's list after appends of so many files each; and how many entries were written anew.
    fn append_all(appends: &[u64], settings: &MergeSettings) -> (Vec<u64>, u64) {
        let (mut list, mut rewritten) = (Vec::new(), 0);
        for files in appends {
            let merges = merges(&candidates(&list), settings);
            let gone: Vec<usize> = merges.concat();
            let sum = |merge: &Vec<usize>| merge.iter().map(|index| list[*index]).sum::<u64>();
            let merged: Vec<u64> = merges.iter().map(sum).collect();
            rewritten += merged.iter().sum::<u64>();
            let kept = list.iter().enumerate();
            let kept = kept.filter(|(index, _)| !gone.contains(index));
            let kept: Vec<u64> = kept.map(|(_, files)| *files).collect();
            list = [vec![*files], merged, kept].concat();
        }
        (list, rewritten)
    }

    #[test]
    fn nothing_merges_before_a_tier_is_full_or_when_it_may_not() {
        let ones = candidates(&[1; 9]);
        assert_eq!(
            merges(&ones, &settings(10, 8 << 20)),
            Vec::<Vec<usize>>::new()
        );
        let ten = candidates(&[1; 10]);
        assert_eq!(
            merges(&ten, &settings(10, 8 << 20)),
            [(0..10).collect::<Vec<_>>()]
        );
        let off = MergeSettings {
            is_enabled: false,
            ..settings(10, 8 << 20)
        };
        assert_eq!(merges(&ten, &off), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn a_full_tier_may_fill_the_next_one() {
        let list = [vec![1; 10], vec![10; 9], vec![1000]].concat();
        let expected: Vec<usize> = (0..19).collect();
        assert_eq!(
            merges(&candidates(&list), &settings(10, 8 << 20)),
            [expected]
        );
    }

    #[test]
    fn large_manifests_stay_and_no_merge_is_beyond_the_target() {
        let list = [vec![20_000], vec![1500; 10]].concat();
        let target_bytes = 2 << 20;
        let found = merges(&candidates(&list), &settings(10, target_bytes));
        assert_eq!(found, [vec![1, 2, 3, 4], vec![5, 6, 7, 8], vec![9, 10]]);
    }

    #[test]
    fn five_thousand_appends_rewrite_little_and_leave_a_short_list() {
        for (min_count, manifests_max, rewrites_max) in [(100, 200, 1), (10, 40, 3)] {
            let (list, rewritten) = append_all(&[1; 5000], &settings(min_count, 8 << 20));
            assert!(list.len() <= manifests_max, "{} manifests", list.len());
            assert!(rewritten <= rewrites_max * 5000, "{rewritten} entries");
            assert_eq!(list.iter().sum::<u64>(), 5000);
        }
    }

    proptest! {
        #[test]
        fn no_file_is_lost_and_both_costs_are_logarithmic(
            appends in prop::collection::vec(1..40u64, 1..400),
            min_count in 2..20usize,
        ) {
            let (list, rewritten) = append_all(&appends, &settings(min_count, 64 << 20));
            let files: u64 = appends.iter().sum();
            prop_assert_eq!(list.iter().sum::<u64>(), files);
            let highest = tier(files, min_count);
            prop_assert!(rewritten <= files * highest as u64, "{} of {}", rewritten, files);
            prop_assert!(list.len() <= (highest + 1) * min_count, "{:?}", list);
        }

        #[test]
        fn a_merge_is_of_different_small_manifests_within_the_target(
            list in prop::collection::vec(0..3000u64, 0..300),
            min_count in 0..120usize,
            target_bytes in 0..3_000_000u64,
        ) {
            let all = candidates(&list);
            let found = merges(&all, &settings(min_count, target_bytes));
            let mut places = found.concat();
            places.sort_unstable();
            prop_assert!(places.windows(2).all(|pair| pair[0] != pair[1]));
            for merge in found {
                prop_assert!(merge.len() > 1);
                let bytes: u64 = merge.iter().map(|index| all[*index].bytes).sum();
                prop_assert!(bytes <= target_bytes);
            }
        }
    }
}
