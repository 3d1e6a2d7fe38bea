"""Edges of the proofs in test_request_data.py: every way to a target that the checker knows.

A line of the samples that ends in "# bad" must be found, and no other.
"""

from __future__ import annotations

from .. import test_request_data as core
from ..harness import edit, protects
from ..test_request_data import recognised
from .core import sabotages

BEFORE = """
import os, shutil, aiohttp, flask, httpx, requests, socket, urllib.request
from pathlib import Path
from urllib.parse import unquote, urljoin
from flask import Response, make_response, redirect, request, send_file, send_from_directory
class Letter(Owned, Base):
    __tablename__ = "letter"
class Page(Base):
    letter_id: Mapped[UUID] = mapped_column(ForeignKey("letter.id"))
class Comment(Base):
    ticket_id: Mapped[UUID] = mapped_column(ForeignKey("ticket.id", ondelete="CASCADE"))
class Ticket(Scoped, Base):
    __tablename__ = "ticket"
class Diary(Scoped, Owned, Base): ...
class Line(Scoped, Base):
    ticket_id: Mapped[UUID] = mapped_column(ForeignKey("ticket.id"))
class Draft(Letter): ...
class Country(Base): ...
class Where(Query):
    sort: Literal["/new", "/old"] = "/new"
class ExportForm(SubmittedForm):
    kind = SelectField("Kind", choices=KINDS)
"""
REDIRECTS = """
@blueprint.get("/go/<path:target>/<int:number>")
@public
def go(target: str, number, query: Where):
    redirect(request.args["next"])  # bad
    redirect(request.args.get("next") or url_for("notes.index"), 303)  # bad
    redirect(location=target)  # bad
    redirect(query.next)  # bad
    redirect(request.referrer or "/")  # bad
    wanted = request.form["next"].strip()
    flask.redirect("/" + wanted)  # bad
    redirect(f"//{wanted}/x")  # bad
    redirect("https://{}/x".format(wanted))  # bad
    redirect("https://%s/x" % wanted)  # bad
    redirect(urljoin(request.host_url, wanted))  # bad
    if not target.startswith("/"):
        target = "/"
    form = ExportForm()
    redirect(form.back.data)  # bad
    answer = make_response("", 303)
    answer.headers["Location"] = request.headers["X-Next"]  # bad
    answer.location = unquote(request.cookies["next"])  # bad
    return Response("", 303, headers={"Location": request.values.get("next", "/")})  # bad

@blueprint.get("/fine/<path:target>/<int:number>")
@public
def fine(target: str, number, query: Where, body: NoteBody):
    redirect(url_for("notes.index", page=request.args["page"]))
    redirect(safe_next(request.args.get("next"), "/"))
    redirect(request.url)
    redirect(f"/notes/{target}")
    redirect("/notes?q=" + request.args["q"])
    redirect("https://partner.example/%s" % target)
    redirect(f"{PARTNER}?to={target}")
    redirect(TARGETS.get(request.args["to"], "/"))
    redirect(f"/{number}")
    redirect(query.sort)
    back = request.args.get("back", "/")
    if back not in ALLOWED:
        abort(400)
    redirect(back)
    there = request.args["there"]
    redirect(there if urlsplit(there).netloc == "" and PATH.fullmatch(there) else "/")
    away = request.values["away"]
    if away.startswith("https://partner.example/"):
        redirect(away)
    event.location = body.location
    return jsonify({"location": body.location}), 201, {"Location": f"/notes/{target}"}

def helper(address):
    return redirect(address)
"""
FILES = """
@blueprint.post("/files/<name>")
@login_required
def files(name, body: NoteBody):
    open(request.args["file"])  # bad
    with open(f"/srv/{name}.txt") as file:  # bad
        file.read()
    open(os.path.join(FOLDER, name), "rb")  # bad
    path = FOLDER / name
    path.read_text()  # bad
    send_file(path)  # bad
    shutil.copyfile("a", path)  # bad
    Path(body.title).unlink()  # bad
    os.remove("/srv/%s" % body.title)  # bad
    send_from_directory(request.args["folder"], "x")  # bad
    there = os.path.join(FOLDER, request.form["there"])
    if os.path.isfile(there) and ".." not in there:
        return send_file(there)  # bad
    for upload in request.files.getlist("photo"):
        upload.save(FOLDER / upload.filename)  # bad

@blueprint.post("/fine/<name>")
@login_required
def fine(name: str, kind: Literal["a", "b"], number: int):
    send_from_directory(FOLDER, name)
    open(safe_join(FOLDER, name))
    open(FOLDER / f"{number}.txt")
    open(FOLDER / f"{kind}.txt")
    open(f"/srv/{request.args.get('page', type=int)}")
    open(FOLDER / f"{current_user.id}.txt")
    upload = request.files["photo"]
    upload.save(FOLDER / secure_filename(upload.filename))
    upload.save(FOLDER / str(uuid4()))
    send_file(upload.stream, download_name=upload.filename)
    send_file(io.BytesIO(request.get_data()), download_name=name)
    path = (FOLDER / name).resolve()
    if not path.is_relative_to(FOLDER):
        abort(404)
    path.read_text()
    sheet = request.args["sheet"]
    if sheet not in {"a", "b"}:
        abort(404)
    workbook = FOLDER / sheet
    open(workbook)
    form = ExportForm()
    open(f"/srv/{form.kind.data}.csv")
    storage.open(request.args["x"]), form.note.save(request.args["x"])

@blueprint.get("/group/<group>")
@public
def group(group):
    group = re.sub("[^a-z]", "", group.lower())
    return send_from_directory(FOLDER / group, "x")
"""
ADDRESSES = """
@blueprint.post("/ask")
@login_required
async def ask(body: Hook):
    urllib.request.urlopen(request.json["url"])  # bad
    urllib.request.Request(body.address)  # bad
    requests.get(body.address, timeout=3)  # bad
    requests.request("GET", request.get_json()["url"], timeout=3)  # bad
    httpx.post(f"https://{body.host}:8443/x", json={})  # bad
    with httpx.Client() as client:
        client.get(url=body.address)  # bad
    async with aiohttp.ClientSession() as http:
        await http.get(body.address)  # bad
    socket.create_connection((body.host, 443))  # bad

@blueprint.post("/fine")
@login_required
def fine(body: Hook):
    requests.get(f"{PARTNER}/things/{body.name}", timeout=3)
    requests.get(Settings().partner + "/x", params={"q": request.args["q"]}, timeout=3)
    httpx.post("https://partner.example/" + body.name, json=request.json, timeout=3)
    httpx.get(PARTNERS[body.name])
    with httpx.Client(base_url=PARTNER) as client:
        client.get(f"/things/{body.name}")
    cache.get(body.address), session.get(request.args["x"])
    if urlsplit(body.address).hostname in HOSTS:
        requests.get(body.address)
    require_own_host(body.other)
    requests.get(body.other)
"""
ROWS = """
@blueprint.get("/letters/<uuid:letter_id>")
@login_required
def read(letter_id: UUID):
    db.session.get(Letter, letter_id)  # bad
    db.session.scalars(select(Draft).where(Draft.id == letter_id)).first()  # bad
    db.session.execute(select(Letter.title).filter_by(id=request.args["id"]))  # bad
    db.session.execute(delete(Letter).where(Letter.id == letter_id))  # bad

@blueprint.get("/parts/<uuid:part_id>")
@login_required
def part(part_id: UUID):
    db.session.get(Page, part_id)  # bad
    db.session.execute(delete(Comment).where(Comment.id == part_id))  # bad

@login_required
class Item(MethodView):
    def get(self, letter_id):
        return db.session.get_one(Letter, letter_id)  # bad

@blueprint.get("/fine/<uuid:letter_id>")
@login_required
def fine(letter_id: UUID):
    letter = owned_or_404(Letter, letter_id)
    db.session.get(Letter, letter.answer_to)
    owned(Letter).where(Letter.id == letter_id)
    db.session.get(Country, letter_id), select(Country).where(Country.id == letter_id)
    select(func.count()).select_from(Letter)

@blueprint.get("/tickets/<uuid:ticket_id>/<uuid:line_id>")
@login_required
def scoped(ticket_id: UUID, line_id: UUID):
    db.session.get(Ticket, ticket_id), db.session.get(Line, line_id), db.session.get(Diary, line_id)

@blueprint.get("/comments/<uuid:comment_id>")
@login_required
def whole(ticket_id: UUID, comment_id: UUID):
    ticket = visible_or_404(Ticket, ticket_id)
    select(Comment).where(Comment.ticket_id == ticket.id, Comment.id == comment_id)

@blueprint.get("/shared/<uuid:letter_id>")
@login_required
def shared(letter_id: UUID):
    select(Letter).join(Reader).where(Reader.user_id == current_user.id, Letter.id == letter_id)

@blueprint.get("/all/<uuid:letter_id>")
@requires("letters.read")
def letter(letter_id: UUID):
    db.session.get(Letter, letter_id)
"""
SAMPLES = {"redirect": REDIRECTS, "file": FILES, "outbound": ADDRESSES, "owner": ROWS}


@protects(
    "request-chooses-no-target",
    part=edit("/tests/proofs/request_scan.py", "if tables & {*", "if tables and not {*"),
    **sabotages(core.test_no_request_chooses_where_a_redirect_leads, "request-chooses-no-target", "scanner"),
)
def test_the_checker_sees_every_way_from_a_request_to_a_target() -> None:
    recognised(BEFORE, SAMPLES)
