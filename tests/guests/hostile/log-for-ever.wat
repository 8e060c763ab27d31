;; expect: 504 plugin-deadline deadline
;; world: import hospes:plugin/logging@0.1.0; export run: func();
(module (import "hospes:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "run") (loop $l (call $log (i32.const 2) (i32.const 0) (i32.const 64)) (br $l))))
