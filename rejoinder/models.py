"""The models and documents that answers are made from, as the settings choose them."""

from dataclasses import replace
from typing import Any

from models.embedder import OnnxReader, load_embedder
from models.llm import ChatOptions, ChatServer
from models.reranker import OnnxReranker
from models.timed_embedder import TimedEmbedder
from operators.answering import Answering
from operators.ports import LanguageModel
from rejoinder.knowledge.store import KnowledgeStore
from rejoinder.settings import Settings
from rejoinder.wording import load_prompts
from schemas.errors import ModelMissing

__all__ = ["Models", "server_options"]

LOCAL_PROMPT_CHARS = 3_000  # a small model on a CPU reads about 300 tokens a second
LOCAL_PASSAGES = 3
LOCAL_TOKENS = 160


def server_options(settings: Settings, base_url: str = "", name: str = "") -> ChatOptions:
    """Give how a server is called; address and name of the model are those of the settings unless given.

    Raises:
        ModelMissing: Neither names a server and a model.
    """
    base_url, name = base_url or settings.llm_base_url, name or settings.llm_model
    if not base_url or not name:
        raise ModelMissing("set REJOINDER_LLM_BASE_URL and REJOINDER_LLM_MODEL, or REJOINDER_LLM=off")
    return ChatOptions(
        base_url=base_url,
        model=name,
        api_key=settings.llm_api_key.get_secret_value() or "none",
        temperature=settings.llm_temperature,
        max_tokens=settings.llm_max_tokens,
        first_piece_s=settings.llm_first_piece_s,
        piece_s=settings.llm_piece_s,
        deadline_s=settings.llm_deadline_s,
    )


class Models:
    """Documents with their search, and the model that writes answers."""

    def __init__(self, settings: Settings, *, follows: bool = False, writes: bool = True) -> None:
        """Load what the settings choose.

        Args:
            settings: The settings.
            follows: Another process keeps the documents; here they are only read.
            writes: Answers are made here: with a language model, and with vectors of questions and answers.

        Raises:
            ModelMissing: A chosen model is not installed; the message names the command that adds it.
            LogUnavailable: The folder of the documents cannot be used.
        """
        self._settings = settings
        self._local: Any = None
        self.chat: ChatOptions | None = None
        self.embedder = TimedEmbedder(load_embedder(settings.embedder, settings.embedder_path))
        folder = settings.data_dir / "knowledge"
        reranker = OnnxReranker(settings.reranker) if settings.reranker else None
        self.knowledge = KnowledgeStore(
            folder,
            self.embedder,
            server=settings.vectors_url,
            follows=follows,
            reader=OnnxReader() if writes else None,
            reranker=reranker,
        )
        model = self._language_model() if writes else None
        small = self._local is not None
        chars = settings.llm_prompt_chars
        self.answering = Answering(
            self.knowledge,
            model,
            passages=LOCAL_PASSAGES if small else 6,
            prompt_chars=min(chars, LOCAL_PROMPT_CHARS) if small else chars,
            prompts=load_prompts(settings.prompts_dir),
            careful=small,
            embedding=self.embedder.took,
        )
        self.answers = model.name if model else "extractive"

    def _language_model(self) -> LanguageModel | None:
        settings = self._settings
        chosen = settings.llm_chosen
        if chosen == "off":
            return None
        if chosen == "local":
            from models.local_llm import LocalServer

            self._local = LocalServer(settings.llm_local_path)
            self.chat = replace(
                server_options(settings, self._local.base_url, self._local.model),
                max_tokens=min(settings.llm_max_tokens, LOCAL_TOKENS),
                first_piece_s=settings.llm_deadline_s,
            )
        else:
            self.chat = server_options(settings)
        return ChatServer(self.chat)

    def writer(self) -> LanguageModel | None:
        """Give the model once more for another event loop; None when there is none."""
        return ChatServer(self.chat) if self.chat is not None else None

    def close(self) -> None:
        """Close the documents and end a model server of our own."""
        self.knowledge.close()
        if self._local is not None:
            self._local.stop()
