;; world: export run: func();
(module
  (func (export "run") unreachable))
