{#
    How many are in what today, and who came and went since the day built before, as the CTE `final`. Needs the CTEs
    `members`, as members_of_the_day() leaves them, and `names`, a row for each even where nobody is in. A day is not
    written again once a later one stands.

    name    column that says in what
    group   column of its groups, which are counted beside the whole; none where there are no groups
#}
{% macro sizes_of_the_day(name, group=none) -%}
days as (

    select max(as_of_date) as last_day
    from members
    where as_of_date < {{ as_of_date() }}

),

today as (

    select *
    from members
    where as_of_date = {{ as_of_date() }}

),

before as (

    select members.*
    from members
    inner join days
        on members.as_of_date = days.last_day

),

compared as (

    select
        {%- for column in [name, group, 'member_id'] if column %}
        coalesce(today.{{ column }}, before.{{ column }}) as {{ column }},
        {%- endfor %}
        case when today.member_id is null then 0 else 1 end as is_in,
        case when before.member_id is null then 0 else 1 end as was_in
    from today
    full outer join before
        on
            today.{{ name }} = before.{{ name }}
            {%- if group %}
            and today.{{ group }} = before.{{ group }}
            {%- endif %}
            and today.member_id = before.member_id

),

-- of the whole somebody counts once, in however many of its groups
of_whole as (

    select
        {{ name }},
        member_id,
        max(is_in) as is_in,
        max(was_in) as was_in
    from compared
    group by {{ name }}, member_id

),

counted as (

    select
        names.{{ name }},
        {%- if group %}
        '' as {{ group }},
        {%- endif %}
        coalesce(sum(of_whole.is_in), 0) as size,
        coalesce(sum(case when of_whole.is_in > of_whole.was_in then 1 else 0 end), 0) as entered,
        coalesce(sum(case when of_whole.is_in < of_whole.was_in then 1 else 0 end), 0) as departed
    from names
    left join of_whole
        on names.{{ name }} = of_whole.{{ name }}
    group by names.{{ name }}
    {%- if group %}

    union all

    select
        {{ name }},
        {{ group }},
        sum(is_in) as size,
        sum(case when is_in > was_in then 1 else 0 end) as entered,
        sum(case when is_in < was_in then 1 else 0 end) as departed
    from compared
    where {{ group }} <> ''
    group by {{ name }}, {{ group }}
    {%- endif %}

),

final as (

    select
        {{ as_of_date() }} as as_of_date,
        {%- for column in [name, group] if column %}
        counted.{{ column }},
        {%- endfor %}
        cast(counted.size as integer) as size,
        days.last_day as compared_with_date,
        cast(case when days.last_day is not null then counted.entered end as integer) as entered,
        cast(case when days.last_day is not null then counted.departed end as integer) as departed
    from counted
    cross join days
    {% if is_incremental() %}
    where not exists (select 1 from {{ this }} as later where later.as_of_date > {{ as_of_date() }})
    {% endif %}

)
{%- endmacro %}
