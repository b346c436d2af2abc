-- mod_cusax: what the cusax component needs done inside the server.
--
-- Holds a map of who holds which SIP addresses and telephone numbers and where they can be reached now, as the
-- component tells it (urn:x-cusax:plugin:0), and
--   * puts <reach xmlns='urn:xmpp:reach:0'/> (XEP-0152) into presence that leaves,
--   * puts <addr xmlns='urn:x-cusax:roster:0'/> into the rosters of clients that ask for it,
--   * lets the component judge every card with a telephone entry before it is stored,
--   * publishes the activity of users on the phone (XEP-0108).
-- It knows nothing of numbers: it compares whole URIs. Presence and rosters never wait for the component.
-- Tested with Prosody 0.12.3. Options and installation: README.md beside this file.

local VERSION = "1"; -- of the protocol; the component has the same

local ns_plugin = "urn:x-cusax:plugin:0";
local ns_roster_addr = "urn:x-cusax:roster:0";
local ns_reach = "urn:xmpp:reach:0";
local ns_roster = "jabber:iq:roster";
local ns_pubsub = "http://jabber.org/protocol/pubsub";
local ns_activity = "http://jabber.org/protocol/activity";
local ns_muc = "http://jabber.org/protocol/muc";
local node_vcard4 = "urn:xmpp:vcard4";

local st = require "util.stanza";
local jid_split = require "util.jid".split;
local jid_bare = require "util.jid".bare;
local jid_prep = require "util.jid".prep;
local filters = require "util.filters";
local sha256 = require "util.hashes".sha256;
local new_id = require "util.id".medium;
local load_roster = require "core.rostermanager".load_roster;
local pep = module:depends("pep");

local host = module.host;
local component = module:get_option_string("cusax_component", "calls." .. host);
local audience = module:get_option_string("cusax_audience", "roster");
local check_timeout = module:get_option_number("cusax_check_timeout", 3);
local jobs = module:get_option_set("cusax_jobs", { "reach", "roster", "vcard" });
local MAX_REACH = 8;          -- addresses in one presence
local MAX_USERS = 500000;     -- users in the map
local BATCH, PAUSE = 200, 0.1; -- users whose contacts are told at a time, and how often

local publishable = { [ns_activity] = "activity" };
local ours_alone = { sip = true, sips = true, tel = true };

if audience ~= "local" and audience ~= "roster" and audience ~= "all" then
	error("cusax_audience is \"local\", \"roster\" or \"all\", not \"" .. audience .. "\"", 0);
end
for job in jobs do
	if job ~= "reach" and job ~= "roster" and job ~= "vcard" then
		error("cusax_jobs are \"reach\", \"roster\" and \"vcard\", not \"" .. tostring(job) .. "\"", 0);
	end
end

-- jid -> "held TAB reach", as on the line: one string for each user, since Prosody's collector walks all tables again
-- whenever memory has grown by a twentieth
local map = {};
local epoch, seq, count; -- of the map; nil before the first synchronisation
local staging;           -- the map that is being received: { users, count }
local active = {};       -- username -> true while we have published an activity for them
-- presence stanza -> { own = what the client itself said, shown = what is in it now, full = what contacts may see at most }
local dressed = setmetatable({}, { __mode = "k" });
local opted = setmetatable({}, { __mode = "k" }); -- sessions that asked for addresses in rosters
local approved = setmetatable({}, { __mode = "k" }); -- stanzas that the component has judged
local waiting, working = {}, false; -- jid -> "held" if addresses have changed, or "reach": whose contacts must be told
local queue, told = {}, 0;          -- the same users in order, and how many of them have had their turn
local tell;                         -- tells them

function module.save()
	return {
		version = VERSION, lines = map, epoch = epoch, seq = seq, count = count,
		active = active, dressed = dressed, waiting = waiting,
	};
end

function module.restore(saved)
	dressed = saved.dressed or dressed;
	-- The plugin before this one kept its map otherwise, under another name: then it is told anew.
	if saved.version == VERSION and saved.lines then
		map, epoch, seq, count, active = saved.lines, saved.epoch, saved.seq, saved.count, saved.active;
		waiting = saved.waiting;
		for jid in pairs(waiting) do table.insert(queue, jid); end
		tell();
	end
end

-- ---------------------------------------------------------------- the map

local escapes = { ["\\t"] = "\t", ["\\r"] = "\r", ["\\n"] = "\n", ["\\\\"] = "\\" };

local function unescape(field)
	if not field:find("\\", 1, true) then return field; end
	local bad = false;
	local text = field:gsub("\\.?", function (pair)
		if not escapes[pair] then bad = true; end
		return escapes[pair];
	end);
	return not bad and text or nil;
end

-- One line of the map; nil if it is none. The text is false when the user holds nothing any more.
local function read_line(line)
	local jid, text, held, reach = line:match("^([^\t]+)\t[^\t]*\t(([^\t]*)\t([^\t]*))$");
	if not jid then return nil; end
	jid, held, reach = unescape(jid), unescape(held), unescape(reach);
	if not (jid and held and reach) then return nil; end
	local username, line_host, resource = jid_split(jid);
	if not username or resource or line_host ~= host or jid_prep(jid) ~= jid then return nil; end
	if held == "" and reach == "" then return jid, false; end
	-- Marks follow an address.
	if held:find("^|") or held:find(" |", 1, true) then return nil; end
	return jid, text;
end

-- What the map says of a user: the addresses that they hold, in order, with whether each is a held one that takes video,
-- and those where they can be reached.
local function entry_of(jid)
	local text = map[jid];
	if not text then return nil; end
	local held, reach = text:match("^(.*)\t(.*)$");
	local entry = { held = held, held_list = {}, held_set = {}, video = {}, reach_list = {} };
	for word in unescape(held):gmatch("[^ ]+") do
		local uri, marks = word:match("^([^|]+)(.*)$");
		table.insert(entry.held_list, uri);
		entry.held_set[uri] = true;
		entry.video[uri] = marks == "|video" or nil;
	end
	for uri in unescape(reach):gmatch("[^ ]+") do
		table.insert(entry.reach_list, uri);
	end
	return entry;
end

-- Calls back for each line; tells whether all of them were lines.
local function each_line(text, callback)
	for line in (text or ""):gmatch("[^\n]+") do
		local jid, kept = read_line(line);
		if not jid then return false; end
		callback(jid, kept);
	end
	return true;
end

-- ---------------------------------------------------------------- presence

-- Whether contacts at `to` may see where the user can be reached.
local function may_see(session, to)
	if not to then return true; end
	local to_bare = jid_bare(to);
	if to_bare == session.username .. "@" .. host then return true; end
	local _, to_host = jid_split(to_bare);
	local is_local = prosody.hosts[to_host] and prosody.hosts[to_host].type == "local";
	if audience == "all" or is_local then return true; end
	local item = session.roster and session.roster[to_bare];
	local subscribed = item and (item.subscription == "from" or item.subscription == "both");
	return audience == "roster" and subscribed or false;
end

local function is_room(session, stanza)
	local to = stanza.attr.to;
	if not to then return false; end
	local to_bare = jid_bare(to);
	if stanza:get_child("x", ns_muc) then
		session.cusax_rooms = session.cusax_rooms or {};
		session.cusax_rooms[to_bare] = true;
	end
	local _, to_host = jid_split(to_bare);
	local service = prosody.hosts[to_host];
	return session.cusax_rooms and session.cusax_rooms[to_bare]
		or service and service.modules and service.modules.muc ~= nil or false;
end

local function own_addresses(stanza)
	local own = {};
	for reach in stanza:childtags("reach", ns_reach) do
		for addr in reach:childtags("addr") do
			if addr.attr.uri then table.insert(own, addr.attr.uri); end
		end
	end
	return own;
end

local function set_reach(stanza, list)
	stanza:maptags(function (tag)
		if tag.name == "reach" and tag.attr.xmlns == ns_reach then return nil; end
		return tag;
	end);
	if #list > 0 then
		local reach = st.stanza("reach", { xmlns = ns_reach });
		for _, uri in ipairs(list) do
			reach:tag("addr", { uri = uri }):up();
		end
		stanza:add_direct_child(reach);
	end
end

-- What the presence of `entry` says: ours first, then the client's own, which may name only held addresses.
local function compose(entry, own, ours)
	local list, seen = {}, {};
	local function add(uri)
		if not seen[uri] and #list < MAX_REACH then
			seen[uri] = true;
			table.insert(list, uri);
		end
	end
	if ours and entry then
		for _, uri in ipairs(entry.reach_list) do add(uri); end
	end
	for _, uri in ipairs(own) do
		local scheme = uri:match("^%s*([%a][%w+.-]*):");
		if scheme and (not ours_alone[scheme:lower()] or entry and entry.held_set[uri]) then add(uri); end
	end
	return list;
end

-- The same stanza passes here once for each contact, and again whenever somebody probes: the memo keeps what the client
-- itself said, so that passing again changes nothing.
local function dress(event)
	local session, stanza = event.origin, event.stanza;
	if not jobs:contains("reach") or not session.username or session.host ~= host then return; end
	local memo = dressed[stanza];
	if not memo then
		local own = own_addresses(stanza);
		memo = { own = own, shown = stanza:get_child("reach", ns_reach) and "?" or "" };
		dressed[stanza] = memo;
	end
	local list = {};
	if not is_room(session, stanza) then
		local available = stanza.attr.type == nil;
		list = compose(entry_of(session.username .. "@" .. host), memo.own, available and may_see(session, stanza.attr.to));
	end
	local shown = table.concat(list, " ");
	if not stanza.attr.to then memo.full = shown; end
	if shown ~= memo.shown then
		set_reach(stanza, list);
		memo.shown = shown;
	end
end

module:hook("pre-presence/full", dress, 10);
module:hook("pre-presence/bare", dress, 10);
module:hook("pre-presence/host", dress, 10);

local function rebroadcast(session)
	local presence = session.presence;
	if not presence then return; end
	local memo = dressed[presence];
	local entry = entry_of(session.username .. "@" .. host);
	if memo and memo.full == table.concat(compose(entry, memo.own, true), " ") then return; end
	local copy = st.clone(presence);
	copy:maptags(function (tag)
		if tag.name == "delay" and tag.attr.xmlns == "urn:xmpp:delay" then return nil; end
		return tag;
	end);
	copy.attr.to = nil;
	if memo then dressed[copy] = { own = memo.own, shown = memo.shown }; end
	prosody.core_process_stanza(session, copy);
end

-- ---------------------------------------------------------------- rosters

local function addresses_of(session, jid, item)
	-- Without a subscription one could harvest addresses by adding anybody.
	if not item or item.subscription ~= "to" and item.subscription ~= "both" then return nil; end
	local entry = entry_of(jid);
	return entry and entry.held ~= "" and entry or nil;
end

-- A mark of the addresses that this session's roster shows.
local function digest(session)
	local lines = {};
	for jid, item in pairs(session.roster or {}) do
		local entry = jid and addresses_of(session, jid, item);
		if entry then table.insert(lines, jid .. "\t" .. entry.held); end
	end
	table.sort(lines);
	return sha256(table.concat(lines, "\n"), true):sub(1, 16);
end

local function opt(session, wanted)
	session.cusax_optin = wanted or nil;
	opted[session] = wanted or nil;
end

module:hook("iq/self/jabber:iq:roster:query", function (event)
	local session, stanza = event.origin, event.stanza;
	if stanza.attr.type ~= "get" then return; end
	local query = stanza.tags[1];
	opt(session, jobs:contains("roster") and query:get_child("annotate", ns_roster_addr) ~= nil);
	local ver = query.attr.ver;
	if session.cusax_optin and ver and ver ~= "" then
		-- The client's version is <native>-<digest>: if both are current, the answer may be empty. If not, a version that
		-- the server cannot read makes it send everything.
		local native, mark = ver:match("^(.*)%-(%x+)$");
		query.attr.ver = mark == digest(session) and native or "";
	end
end, 10);

local function annotate(stanza, session)
	session = session.cusax_as or session;
	if not session.cusax_optin or not st.is_stanza(stanza) or stanza.name ~= "iq" then return stanza; end
	local kind = stanza.attr.type;
	if session.host ~= host or kind ~= "result" and kind ~= "set" then return stanza; end
	-- Others may send us what looks like a roster; only the server's own says what our user may see.
	local from = stanza.attr.from;
	if from and from ~= session.username .. "@" .. host then return stanza; end
	local query = stanza:get_child("query", ns_roster);
	-- Versions of the server's own are numbers: what has a mark already was annotated, and is sent again by a resumption.
	if not query or tostring(query.attr.ver):find("-", 1, true) then return stanza; end
	stanza = st.clone(stanza); -- one stanza is pushed to every resource, and not all have asked
	query = stanza:get_child("query", ns_roster);
	for item in query:childtags("item") do
		local entry = addresses_of(session, item.attr.jid, (session.roster or {})[item.attr.jid]);
		if entry then
			for _, uri in ipairs(entry.held_list) do
				item:add_direct_child(st.stanza("addr", { xmlns = ns_roster_addr, uri = uri, video = entry.video[uri] and "true" or nil }));
			end
		end
	end
	if query.attr.ver then query.attr.ver = query.attr.ver .. "-" .. digest(session); end
	return stanza;
end

local function watch(session)
	filters.add_filter(session, "stanzas/out", annotate, 50);
end

filters.add_filter_hook(watch);
for _, session in pairs(prosody.full_sessions) do
	if session.host == host then
		watch(session);
		if session.cusax_optin then opted[session] = true; end
	end
end

-- After a resumption (XEP-0198) stanzas may pass the filter of the new connection's session, which knows nothing.
module:hook("smacks-hibernation-end", function (event)
	event.origin.cusax_as = event.resumed;
end);

-- Tells every client that asked for addresses that those of `jid` have changed.
local function push(jid)
	if not next(opted) then return; end
	local username = jid_split(jid);
	for contact, sees in pairs(load_roster(username, host) or {}) do
		local watcher, watcher_host = jid_split(contact or nil);
		local user = watcher_host == host and (sees.subscription == "from" or sees.subscription == "both")
			and prosody.hosts[host].sessions[watcher];
		for _, session in pairs(user and user.sessions or {}) do
			local item = session.cusax_optin and session.roster and session.roster[jid];
			if item and (item.subscription == "to" or item.subscription == "both") then
				local iq = st.iq({ type = "set", id = new_id() })
					:tag("query", { xmlns = ns_roster, ver = tostring(session.roster[false].version or "1") })
					:tag("item", { jid = jid, subscription = item.subscription, name = item.name, ask = item.ask });
				for group in pairs(item.groups or {}) do iq:text_tag("group", group); end
				session.send(iq:reset());
			end
		end
	end
end

-- ---------------------------------------------------------------- changes

local function work()
	for _ = 1, BATCH do
		told = told + 1;
		local jid = queue[told];
		if not jid then
			queue, told, working = {}, 0, false;
			return;
		end
		local change = waiting[jid];
		waiting[jid] = nil;
		if change == "held" then push(jid); end
		local user = prosody.hosts[host].sessions[jid_split(jid)];
		-- The list of sessions may change while presence is sent.
		local sessions = {};
		for _, session in pairs(user and user.sessions or {}) do table.insert(sessions, session); end
		for _, session in ipairs(sessions) do rebroadcast(session); end
	end
	return PAUSE;
end

-- The first batch goes at once: one changed user is told without delay.
function tell()
	if working or not next(waiting) then return; end
	working = true;
	local again = work();
	if again then module:add_timer(again, work); end
end

-- Takes what the map said and says of a user; nil or false for nothing.
local function note(jid, old, new)
	old, new = old or "\t", new or "\t";
	if old == new then return; end
	if not waiting[jid] then table.insert(queue, jid); end
	local held = old:match("^[^\t]*") ~= new:match("^[^\t]*");
	waiting[jid] = (held or waiting[jid] == "held") and "held" or "reach";
end

local function publish(username, node, item)
	local service = pep.get_pep_service(username);
	local ok, err = service:publish(node, true, item.attr.id or "current", item, { access_model = "presence", _defaults_only = true });
	if ok and node == ns_activity then
		active[username] = #item.tags[1].tags > 0 or nil;
	end
	return ok, err;
end

-- A component that has begun anew knows of no calls but those that it tells of from now on.
local function forget_activities()
	local usernames = {};
	for username in pairs(active) do table.insert(usernames, username); end
	for _, username in ipairs(usernames) do
		publish(username, ns_activity, st.stanza("item", { xmlns = ns_pubsub, id = "current" }):tag("activity", { xmlns = ns_activity }):up());
	end
end

-- ---------------------------------------------------------------- what the component says

local function from_component(event)
	local origin, stanza = event.origin, event.stanza;
	if origin.type == "component" and origin.host == component and stanza.attr.from == component then return true; end
	origin.send(st.error_reply(stanza, "auth", "forbidden"));
	return false;
end

local function same_version(event, version)
	if version == VERSION then return true; end
	local reason = ("mod_cusax speaks version %s of the plugin protocol, the component version %s: install the mod_cusax that came with it")
		:format(VERSION, tostring(version));
	module:log("error", "%s", reason);
	event.origin.send(st.error_reply(event.stanza, "cancel", "feature-not-implemented", reason)
		:tag("version-mismatch", { xmlns = ns_plugin, version = VERSION }));
	return false;
end

module:hook("iq-get/host/" .. ns_plugin .. ":state", function (event)
	if from_component(event) and same_version(event, event.stanza.tags[1].attr.version) then
		local attr = { xmlns = ns_plugin, version = VERSION, epoch = epoch, seq = seq and tostring(seq), users = count and tostring(count) };
		event.origin.send(st.reply(event.stanza):tag("state", attr));
	end
	return true;
end);

local steps = {};

function steps.begin()
	staging = { users = {}, count = 0 };
	return true;
end

function steps.more(sync)
	if not staging then return false; end
	local good = each_line(sync:get_text(), function (jid, text)
		staging.users[jid] = text or nil;
		staging.count = staging.count + 1;
	end);
	return good and staging.count <= MAX_USERS;
end

function steps.commit(sync)
	local new_seq = tonumber(sync.attr.seq);
	if not staging or not sync.attr.epoch or not new_seq or tonumber(sync.attr.users) ~= staging.count then return false; end
	local old, anew = map, epoch ~= sync.attr.epoch;
	map, epoch, seq, count, staging = staging.users, sync.attr.epoch, new_seq, staging.count, nil;
	for jid, text in pairs(map) do note(jid, old[jid], text); end
	for jid, text in pairs(old) do
		if not map[jid] then note(jid, text, nil); end
	end
	if anew then forget_activities(); end
	module:log("info", "the component has told of %d users", count);
	return true;
end

function steps.delta(sync)
	local new_seq = tonumber(sync.attr.seq);
	if not new_seq or sync.attr.epoch ~= epoch or tonumber(sync.attr.after) ~= seq then return false; end
	local changes = {};
	local good = each_line(sync:get_text(), function (jid, text) table.insert(changes, { jid, text }); end);
	if not good then return false; end
	for _, change in ipairs(changes) do
		local jid, text = change[1], change[2] or nil;
		local old = map[jid];
		count = count + (text and 1 or 0) - (old and 1 or 0);
		map[jid] = text;
		note(jid, old, text);
	end
	seq = new_seq;
	return true;
end

module:hook("iq-set/host/" .. ns_plugin .. ":sync", function (event)
	if not from_component(event) then return true; end
	local sync = event.stanza.tags[1];
	if sync.attr.mode == "begin" and not same_version(event, sync.attr.version) then return true; end
	local step = steps[sync.attr.mode or ""];
	if step and step(sync) then
		event.origin.send(st.reply(event.stanza));
		tell();
	else
		staging = nil;
		event.origin.send(st.error_reply(event.stanza, "cancel", step and "conflict" or "bad-request"));
	end
	return true;
end);

module:hook("iq-set/host/" .. ns_plugin .. ":publish", function (event)
	if not from_component(event) then return true; end
	local origin, stanza = event.origin, event.stanza;
	local request = stanza.tags[1];
	local username, user_host, resource = jid_split(request.attr.user);
	local item = request:get_child("item", ns_pubsub);
	local payload = item and #item.tags == 1 and item.tags[1];
	if user_host ~= host or not username or resource or not payload
		or publishable[request.attr.node or ""] ~= payload.name or payload.attr.xmlns ~= request.attr.node then
		origin.send(st.error_reply(stanza, "modify", "bad-request"));
		return true;
	end
	local ok, err = publish(username, request.attr.node, st.clone(item));
	if ok then
		origin.send(st.reply(stanza));
	else
		origin.send(st.error_reply(stanza, "cancel", "item-not-found", tostring(err)));
	end
	return true;
end);

local function need_sync()
	if not prosody.hosts[component] then return; end
	module:send(st.message({ from = host, to = component, id = new_id() })
		:tag("need-sync", { xmlns = ns_plugin, version = VERSION, epoch = epoch, seq = seq and tostring(seq) }));
end

-- ---------------------------------------------------------------- cards

local function has_tel(element)
	if element.name:lower() == "tel" then return true; end
	for _, child in ipairs(element.tags) do
		if has_tel(child) then return true; end
	end
	return false;
end

-- Calls back for each uri in a reach that is published.
local function reach_is_held(publish_tag, username)
	local entry = entry_of(username .. "@" .. host);
	local held = true;
	local function look(element)
		if element.name == "addr" and element.attr.uri then
			local scheme = element.attr.uri:match("^%s*([%a][%w+.-]*):");
			if not scheme or ours_alone[scheme:lower()] and not (entry and entry.held_set[element.attr.uri]) then held = false; end
		end
		for _, child in ipairs(element.tags) do look(child); end
	end
	look(publish_tag);
	return held;
end

local function refuse(session, stanza, kind, condition, text)
	session.send(st.error_reply(stanza, kind, condition, text));
end

-- Whatever a user stores in the own account passes here: cards in both formats and everything that is published.
module:hook("pre-iq/bare", function (event)
	local session, stanza = event.origin, event.stanza;
	if stanza.attr.type ~= "set" or session.type ~= "c2s" or not session.username or session.host ~= host then return; end
	local to = stanza.attr.to;
	if to and jid_prep(to) ~= session.username .. "@" .. host then return; end
	local payload = stanza.tags[1];
	if not payload or approved[stanza] then return; end
	local card = payload.name:lower() == "vcard";
	if payload.name == "pubsub" and payload.attr.xmlns == ns_pubsub then
		for _, action in ipairs(payload.tags) do
			if action.name == "publish" then
				if action.attr.node == ns_reach and not reach_is_held(action, session.username) then
					refuse(session, stanza, "modify", "not-acceptable", "Only your own SIP addresses and numbers may stand there.");
					return true;
				end
				card = true;
			end
		end
	end
	if not card or not jobs:contains("vcard") or not has_tel(payload) then return; end

	local check = st.iq({ type = "set", id = new_id(), from = host, to = component })
		:tag("check", { xmlns = ns_plugin, user = session.username .. "@" .. host }):add_child(payload);
	local function unavailable()
		refuse(session, stanza, "wait", "resource-constraint", "Telephone numbers cannot be checked just now; nothing was stored.");
	end
	module:send_iq(check, nil, check_timeout):next(function (answer)
		local reply = answer.stanza;
		-- An error may arrive here too: one that the server made because the component is not connected.
		if reply.attr.type ~= "result" or not reply:get_child("checked", ns_plugin) then return unavailable(); end
		if session.type ~= "c2s" then return; end -- gone meanwhile
		approved[stanza] = true;
		prosody.core_post_stanza(session, stanza, true);
	end, function (problem)
		if problem and problem.type == "modify" and problem.condition == "not-acceptable" then
			refuse(session, stanza, "modify", "not-acceptable", problem.text);
		else
			unavailable();
		end
	end);
	return true;
end, 10);

-- ---------------------------------------------------------------- the rest

if jobs:contains("roster") then module:add_feature(ns_roster_addr); end
module:hook("account-disco-info", function (event)
	event.reply:tag("feature", { var = ns_reach }):up();
end);

function module.load()
	need_sync();
end

function module.unload()
	filters.remove_filter_hook(watch);
	for _, session in pairs(prosody.full_sessions) do
		if session.host == host then
			filters.remove_filter(session, "stanzas/out", annotate);
			-- Stored presence must not go on saying what nobody keeps true any more.
			local memo = session.presence and dressed[session.presence];
			if memo and not module.reloading then
				set_reach(session.presence, compose(nil, memo.own, false));
				memo.shown = "?";
			end
		end
	end
end
