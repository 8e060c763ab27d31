;; expect: 504 plugin-deadline deadline
;; Endless tail calls.
(module (func $again (return_call $again)) (func (export "run") (call $again)))
