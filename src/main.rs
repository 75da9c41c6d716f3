//! The binary `calve`: parses the command line and runs it.

/// Conversions run on many blocking threads and allocate megabytes each; what glibc's arenas kept of that
/// was several times what was in use.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Few arenas, only the smallest objects kept by each thread, and freed pages go back at once. Measured with sixteen Parquet parts of 28 MiB at the same time, all
/// at the same speed: glibc 337 MB resident at the peak, jemalloc's defaults 239 MB, these settings 100 MB. With 400 clients there
/// are many blocking threads, and what each kept of objects up to 32 KiB was 200 MB in all.
#[expect(unsafe_code, reason = "jemalloc reads its settings from this symbol")]
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 86] =
    b"narenas:4,lg_tcache_max:12,dirty_decay_ms:100,muzzy_decay_ms:0,background_thread:true\0";

fn main() -> std::process::ExitCode {
    match calve::cli::Cli::from_command_line() {
        Ok(command_line) => command_line.run(),
        Err(code) => code,
    }
}
