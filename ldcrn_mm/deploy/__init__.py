"""The deploy form: what a trained LDCRN computes, in fewer and larger steps."""

from .form import deploy_form

__all__ = ['deploy_form']
