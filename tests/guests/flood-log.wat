;; world: import hospes:plugin/logging@0.1.0; export run: func() -> u32;
;; Writes ten thousand lines of 60,000 bytes to the log.
(module
  (import "hospes:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "run") (result i32)
    (local $left i32)
    (memory.fill (i32.const 0) (i32.const 120) (i32.const 60000))
    (local.set $left (i32.const 10000))
    (loop $again
      (call $log (i32.const 2) (i32.const 0) (i32.const 60000))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $again (local.get $left)))
    (i32.const 7)))
