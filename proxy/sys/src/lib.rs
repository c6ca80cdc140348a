//! System calls that safe wrappers lack. The only crate that may use `unsafe`; each block says why it is sound.

// Brings the allocator's library in.
use libmimalloc_sys as _;
use std::io;
use std::mem::MaybeUninit;

unsafe extern "C" {
    /// The allocator's (mimalloc.h).
    fn mi_collect(force: bool);
}

/// Raises the soft limit of open descriptors to the hard one; the old and the new soft limit.
///
/// # Errors
/// The kernel's.
pub fn raise_descriptor_limit() -> io::Result<(u64, u64)> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the pointer is to memory of the right type, which the call fills when it returns 0.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above returned 0, so the value is initialised.
    let mut limit = unsafe { limit.assume_init() };
    let before = limit.rlim_cur;
    if before < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the pointer is to an initialised value that lives through the call; the kernel only reads it.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok((before, limit.rlim_cur))
}

/// Processors that this thread may run on.
///
/// # Errors
/// The kernel's.
pub fn affinity() -> io::Result<usize> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the set is as large as said, and all bit patterns of it are valid; the kernel fills it.
    let failed = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) } != 0;
    if failed {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed above and filled by the call.
    let set = unsafe { set.assume_init() };
    // SAFETY: CPU_COUNT only reads the set.
    usize::try_from(unsafe { libc::CPU_COUNT(&set) }).map_err(io::Error::other)
}

/// The user that this process acts as.
pub fn effective_user() -> u32 {
    // SAFETY: the call takes nothing, changes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Gives the memory that this thread has freed back to the system. For the end of a large piece of work that is not
/// soon done again (a configuration was compiled): the allocator itself waits for the thread's next allocations.
pub fn give_back_memory() {
    // SAFETY: the call takes no pointer and has no precondition; it touches free pages alone.
    unsafe { mi_collect(true) };
}

/// Takes the program's own code out of this process's memory, for after a large piece of work that other code does than
/// requests (the start, a configuration). What is needed again comes back from the system's cache at its first use,
/// 16 pages at a fault. Does nothing where the system does not tell what is mapped.
pub fn give_back_code() {
    let (Ok(own), Ok(maps)) = (std::env::current_exe(), std::fs::read_to_string("/proc/self/maps")) else {
        return;
    };
    for (start, end) in maps.lines().filter_map(|line| code_of(&own, line)) {
        let Some(length) = end.checked_sub(start) else { continue };
        // SAFETY: the range is a private mapping of the program's file that can be executed and not written: its pages
        // are those of the file, so none of them holds anything that is lost. A failure leaves them where they are.
        unsafe {
            libc::madvise(std::ptr::with_exposed_provenance_mut(start), length, libc::MADV_DONTNEED);
        }
    }
}

/// The range of a line of `/proc/PID/maps`, if it is code of this program.
fn code_of(own: &std::path::Path, line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    if fields.next()? != "r-xp" || !line.ends_with(own.to_str()?) {
        return None;
    }
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn code_is_found_given_back_and_used_again() {
        let own = std::env::current_exe().unwrap();
        let line = |perms: &str| format!("7f00-8f00 {perms} 00001000 fe:00 7    {}", own.display());
        assert_eq!(super::code_of(&own, &line("r-xp")), Some((0x7f00, 0x8f00)));
        for other in [line("r--p"), line("rw-p"), "7f00-8f00 r-xp 0 0:0 0 [vdso]".to_owned(), String::new()] {
            assert_eq!(super::code_of(&own, &other), None, "{other}");
        }
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(maps.lines().any(|line| super::code_of(&own, line).is_some()), "{maps}");
        super::give_back_code();
        assert!(super::affinity().unwrap() >= 1);
    }

    #[test]
    fn limits_and_processors() {
        let (_, now) = super::raise_descriptor_limit().unwrap();
        assert_eq!(super::raise_descriptor_limit().unwrap(), (now, now));
        assert!(super::affinity().unwrap() >= 1);
    }
}
