;; world: import hospes:plugin/logging@0.1.0; export run: func() -> u32;
;; Logs text that looks like a line of the host's own.
(module
  (import "hospes:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "harmless\n2026-01-01T00:00:00.000000Z  INFO hospes::deploy: FORGED published model=acme/bank version=9.9.9\r\1b[2K\e2\80\a8{\22level\22:\22INFO\22}")
  (func (export "run") (result i32)
    (call $log (i32.const 2) (i32.const 0) (i32.const 129))
    (i32.const 7)))
