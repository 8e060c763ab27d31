;; expect: 502 plugin-failed trap
;; world: import hospes:plugin/logging@0.1.0; export run: func();
(module (import "hospes:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "run") (call $log (i32.const 2) (i32.const 65530) (i32.const -1))))
