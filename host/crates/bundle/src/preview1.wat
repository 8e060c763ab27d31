;; The adapter for guests that were built for wasm32-wasip1. It implements all of `wasi_snapshot_preview1` and needs only
;; `hospes:plugin/logging`.
;;
;; What a guest writes to its standard output (file descriptor 1) becomes log lines at level info, and its standard error (2)
;; lines at level error. Environment and arguments are empty. Everything else is denied: with ENOSYS, so that libraries for
;; which a function is optional continue, or with a trap if the function has no result.
;;
;; The adapter has no memory of its own. `env.memory` is the guest's memory, and lines are passed on without copying.
(module
  (type $log (func (param i32 i32 i32)))
  (import "hospes:plugin/logging@0.1.0" "log" (func $log (type $log)))
  (import "env" "memory" (memory 0))

  (global $EBADF i32 (i32.const 8))
  (global $ENOSYS i32 (i32.const 52))
  (global $LEVEL_INFO i32 (i32.const 2))
  (global $LEVEL_ERROR i32 (i32.const 4))

  ;; Whether the byte at $at is before $end and in 0x80..0xBF.
  (func $continues (param $at i32) (param $end i32) (result i32)
    (if (result i32) (i32.lt_u (local.get $at) (local.get $end))
      (then (i32.eq (i32.and (i32.load8_u (local.get $at)) (i32.const 0xC0)) (i32.const 0x80)))
      (else (i32.const 0))))

  ;; The length of the UTF-8 character at $at; 0 if there is none or it is a line break. A program may write any bytes, but the
  ;; host traps on a string that is not UTF-8, so other bytes are left out.
  (func $character (param $at i32) (param $end i32) (result i32)
    (local $first i32) (local $pair i32)
    (local.set $first (i32.load8_u (local.get $at)))
    (if (i32.lt_u (local.get $first) (i32.const 0x80))
      (then (return (i32.ne (local.get $first) (i32.const 0x0A)))))
    (if (i32.eqz (call $continues (i32.add (local.get $at) (i32.const 1)) (local.get $end)))
      (then (return (i32.const 0))))
    (if (i32.lt_u (local.get $first) (i32.const 0xC2)) (then (return (i32.const 0))))
    (if (i32.lt_u (local.get $first) (i32.const 0xE0)) (then (return (i32.const 2))))
    (if (i32.eqz (call $continues (i32.add (local.get $at) (i32.const 2)) (local.get $end)))
      (then (return (i32.const 0))))
    ;; The first two bytes, in big-endian order, reveal overlong forms, surrogates and values beyond U+10FFFF.
    (local.set $pair (i32.or
      (i32.shl (local.get $first) (i32.const 8))
      (i32.load8_u offset=1 (local.get $at))))
    (if (i32.lt_u (local.get $first) (i32.const 0xF0))
      (then
        (return (select (i32.const 3) (i32.const 0) (i32.and
          (i32.ge_u (local.get $pair) (i32.const 0xE0A0))
          (i32.or
            (i32.lt_u (local.get $pair) (i32.const 0xEDA0))
            (i32.ge_u (local.get $pair) (i32.const 0xEE80))))))))
    (if (i32.eqz (call $continues (i32.add (local.get $at) (i32.const 3)) (local.get $end)))
      (then (return (i32.const 0))))
    (select (i32.const 4) (i32.const 0) (i32.and
      (i32.ge_u (local.get $pair) (i32.const 0xF090))
      (i32.lt_u (local.get $pair) (i32.const 0xF490)))))

  ;; Logs the bytes from $at to $end, one line for each run of text without a break.
  (func $lines (param $level i32) (param $at i32) (param $end i32)
    (local $start i32) (local $length i32)
    (local.set $start (local.get $at))
    (loop $next
      (local.set $length (i32.const 0))
      (if (i32.lt_u (local.get $at) (local.get $end))
        (then (local.set $length (call $character (local.get $at) (local.get $end)))))
      (if (local.get $length)
        (then
          (local.set $at (i32.add (local.get $at) (local.get $length)))
          (br $next)))
      (if (i32.gt_u (local.get $at) (local.get $start))
        (then (call $log
          (local.get $level)
          (local.get $start)
          (i32.sub (local.get $at) (local.get $start)))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (local.set $start (local.get $at))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end)))))

  (func (export "fd_write") (param $fd i32) (param $vectors i32) (param $count i32) (param $written i32) (result i32)
    (local $level i32) (local $at i32) (local $bytes i32) (local $total i32)
    (if (i32.eq (local.get $fd) (i32.const 1))
      (then (local.set $level (global.get $LEVEL_INFO)))
      (else (if (i32.eq (local.get $fd) (i32.const 2))
        (then (local.set $level (global.get $LEVEL_ERROR)))
        (else (return (global.get $EBADF))))))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $at (i32.load (local.get $vectors)))
        (local.set $bytes (i32.load offset=4 (local.get $vectors)))
        (call $lines (local.get $level) (local.get $at) (i32.add (local.get $at) (local.get $bytes)))
        (local.set $total (i32.add (local.get $total) (local.get $bytes)))
        (local.set $vectors (i32.add (local.get $vectors) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $written) (local.get $total))
    (i32.const 0))

  ;; No environment variables and no arguments: a count of 0, in 0 bytes.
  (func $none (param $count i32) (param $bytes i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $bytes) (i32.const 0))
    (i32.const 0))
  (export "environ_sizes_get" (func $none))
  (export "args_sizes_get" (func $none))
  (func $nothing_to_write (param i32 i32) (result i32) (i32.const 0))
  (export "environ_get" (func $nothing_to_write))
  (export "args_get" (func $nothing_to_write))

  ;; C libraries ask for one preopened folder after another until they get EBADF. On any other error they give up.
  (func (export "fd_prestat_get") (param i32 i32) (result i32) (global.get $EBADF))

  (func (export "proc_exit") (param i32) unreachable)

  ;; Denied.
  (func (export "clock_res_get") (param i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "clock_time_get") (param i32 i64 i32) (result i32) (global.get $ENOSYS))
  (func (export "fd_advise") (param i32 i64 i64 i32) (result i32) (global.get $ENOSYS))
  (func (export "fd_allocate") (param i32 i64 i64) (result i32) (global.get $ENOSYS))
  (func (export "fd_close") (param i32) (result i32) (global.get $ENOSYS))
  (func (export "fd_datasync") (param i32) (result i32) (global.get $ENOSYS))
  (func (export "fd_fdstat_get") (param i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "fd_fdstat_set_flags") (param i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "fd_fdstat_set_rights") (param i32 i64 i64) (result i32) (global.get $ENOSYS))
  (func (export "fd_filestat_get") (param i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "fd_filestat_set_size") (param i32 i64) (result i32) (global.get $ENOSYS))
  (func (export "fd_filestat_set_times") (param i32 i64 i64 i32) (result i32) (global.get $ENOSYS))
  (func (export "fd_pread") (param i32 i32 i32 i64 i32) (result i32) (global.get $ENOSYS))
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "fd_pwrite") (param i32 i32 i32 i64 i32) (result i32) (global.get $ENOSYS))
  (func (export "fd_read") (param i32 i32 i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "fd_readdir") (param i32 i32 i32 i64 i32) (result i32) (global.get $ENOSYS))
  (func (export "fd_renumber") (param i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "fd_sync") (param i32) (result i32) (global.get $ENOSYS))
  (func (export "fd_tell") (param i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "path_create_directory") (param i32 i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "path_filestat_get") (param i32 i32 i32 i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32) (global.get $ENOSYS))
  (func (export "path_link") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "path_readlink") (param i32 i32 i32 i32 i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "path_remove_directory") (param i32 i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "path_rename") (param i32 i32 i32 i32 i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "path_symlink") (param i32 i32 i32 i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "path_unlink_file") (param i32 i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "poll_oneoff") (param i32 i32 i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "proc_raise") (param i32) (result i32) (global.get $ENOSYS))
  (func (export "random_get") (param i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "sched_yield") (result i32) (global.get $ENOSYS))
  (func (export "sock_accept") (param i32 i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "sock_recv") (param i32 i32 i32 i32 i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "sock_send") (param i32 i32 i32 i32 i32) (result i32) (global.get $ENOSYS))
  (func (export "sock_shutdown") (param i32 i32) (result i32) (global.get $ENOSYS)))
