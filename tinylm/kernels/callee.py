"""How functions are compiled that only other kernels call.

Numba makes machine code of every function, and two wrappers through which Python and C may call it.  A kernel then
takes in the functions it calls once more, in the form before machine code, to optimise across the calls.  So what was
made of those functions alone is never run, and took more than half of the time that compilation needed.  Here they
are optimised, for their callers, and left at that.
"""
from __future__ import annotations

from numba.core import compiler, typed_passes
from numba.core.codegen import CPUCodeLibrary
from numba.core.compiler_machinery import register_pass


class _Library(CPUCodeLibrary):
    """Optimised code to link into other code, of which no machine code is made."""

    def add_llvm_module(self, ll_module):
        # Without passes over single functions: those over the module, which follow, do the same.
        ll_module.data_layout = self._codegen._data_layout
        self._final_module.link_in(ll_module)

    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(typed_passes.NativeLowering):
    """From numba's representation to LLVM's, in a `_Library`."""

    _name = "lowering_of_a_callee"

    def run_pass(self, state):
        state.library = _Library(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        state.flags.noalias = getattr(state.func_id.func, "arrays_are_apart", False)  # no option of a decorator
        super().run_pass(state)
        if getattr(state.func_id.func, "is_called", False):
            own = state["cr"].fndesc.llvm_func_name
            state.library._final_module.get_function(own).add_function_attribute("noinline")
        # Numba finds a function by the object Python would call, which must be of a type built in: any will do that
        # is equal to no other.  Python never gets to see it, see `jit.Callee`.
        name = {}.__getitem__
        state["cr"] = state["cr"]._replace(cfunc=name)
        state.targetctx.insert_user_function(name, state["cr"].fndesc, [state.library])
        return True


class CalleeCompiler(compiler.CompilerBase):
    """Numba's pipeline with the last step as above."""

    def define_pipelines(self):
        passes = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state, "callee")
        last = [at for at, (step, _) in enumerate(passes.passes) if step is typed_passes.NativeLowering]
        passes.passes[last[0]] = (_Lowering, "lowering of a callee")
        passes._finalized = False
        passes.finalize()
        return [passes]
