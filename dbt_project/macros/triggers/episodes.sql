{#
    Episodes: what a trigger fires on. One opens once, keeps its id however late data moves it, and another of the same
    kind opens only after it has closed and the playbook's re-arm time is over. What was opened or decided is remembered
    in tables that only grow; a build reads what earlier builds wrote there.
#}

{# A table of the schema triggers as the last build left it; none where there is none yet. #}
{% macro remembered(name) -%}
    {%- if not execute -%}
        {{ return(none) }}
    {%- endif -%}
    {{ return(adapter.get_relation(
        database=target.database,
        schema=generate_schema_name('triggers', none),
        identifier=name,
    )) }}
{%- endmacro %}

{#
    Openings with the id of their episode: that of an episode of the same trigger, customer, contact and subject that
    opened within the re-arm time before or after, else a new one.

    opened    CTE with customer_id, contact_id, subject and opened_date
#}
{% macro episodes(trigger, opened) -%}
    {%- set registry = remembered('trigger_episodes') -%}
    {#- asked for while parsing, so that it is built first; a unit test has no registry and need not give it -#}
    {%- set playbooks = ref('playbooks') if registry is not none or not execute -%}
    {%- set new_id = hashed_id(["'" ~ trigger ~ "'", 'opened.customer_id', 'opened.contact_id', 'opened.subject', 'opened.opened_date']) -%}
    (
        {%- if registry is none %}
        select
            opened.*,
            {{ new_id }} as event_id
        from {{ opened }} as opened
        {%- else %}
        select *
        from (
            select
                opened.*,
                coalesce(registered.event_id, {{ new_id }}) as event_id,
                row_number() over (
                    partition by opened.customer_id, opened.contact_id, opened.subject, opened.opened_date
                    order by case when registered.event_id is null then 1 else 0 end, registered.occurred_at desc
                ) as match_rank
            from {{ opened }} as opened
            cross join (select rearm_days from {{ playbooks }} where trigger_name = '{{ trigger }}') as playbook
            left join {{ registry }} as registered
                on
                    registered.trigger_name = '{{ trigger }}'
                    and opened.customer_id = registered.customer_id
                    and coalesce(opened.contact_id, '') = coalesce(registered.contact_id, '')
                    and opened.subject = registered.subject
                    and abs({{ days_between('registered.occurred_at', 'opened.opened_date') }}) < playbook.rearm_days
        ) as matched
        where match_rank = 1
        {%- endif %}
    )
{%- endmacro %}

{#
    The days on which a level was crossed: open from the first day on which `entry` holds until one on which `leave` does.
    What lies between the two changes nothing, so a value that trembles at the threshold opens once. The first day known
    of a key opens nothing: nobody knows what was before.

    levels         CTE with one row for each key and day
    key            column that says whose level it is
    day            column of the day
    begins_closed  whether a first day between the two counts as closed, so that the first entry ever opens
#}
{% macro crossed_days(levels, key, day, entry, leave, begins_closed=false) -%}
    (
        select
            {{ key }},
            {{ day }} as opened_date
        from (
            select
                held.*,
                lag(is_open) over (
                    partition by {{ key }}
                    order by {{ day }}
                ) as was_open
            from (
                select
                    marked.*,
                    max(mark) over (partition by {{ key }}, mark_number) as is_open
                from (
                    select
                        marks.*,
                        sum(case when mark is not null then 1 else 0 end) over (
                            partition by {{ key }}
                            order by {{ day }}
                            rows between unbounded preceding and current row
                        ) as mark_number
                    from (
                        select
                            levels.*,
                            case
                                when {{ entry }} then 1
                                when {{ leave }} then 0
                                {%- if begins_closed %}
                                when row_number() over (partition by {{ key }} order by {{ day }}) = 1 then 0
                                {%- endif %}
                            end as mark
                        from {{ levels }} as levels
                    ) as marks
                ) as marked
            ) as held
        ) as followed
        where
            is_open = 1
            and was_open = 0
    )
{%- endmacro %}

{#
    Whether a trigger fires on health, so that a new version of its rules opens the episodes silently: its SQL asks for
    rules_version(), without which no score and no measure of one version can be told from another's.
#}
{% macro follows_health(trigger) -%}
    {%- set macros = graph.nodes['model.customer_success.trg_' ~ trigger].depends_on.macros if execute else [] -%}
    {{ 'true' if 'macro.customer_success.rules_version' in macros else 'false' }}
{%- endmacro %}

{# Whether an opening is recent enough to be a candidate. #}
{% macro is_candidate(day) -%}
    {{ day }} <= {{ as_of_date() }}
    and {{ day }} > {{ days_before(as_of_date(), 'cast(' ~ threshold('episode_days') ~ ' as integer)') }}
{%- endmacro %}
