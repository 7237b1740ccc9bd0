{#
    Who is in what today, since when and why, with a few of each as a sample, as the CTE `final`; beside the day before,
    which the model keeps. Needs the CTE `members` (the columns below, member_kind, member_id, customer_id, reason) and
    `contacts`. A day is not written again once a later one stands.

    name      column that says in what
    group     column of its groups; none where there are no groups
    more      columns that are shown beside
#}
{% macro members_of_the_day(name, group=none, more=[]) -%}
{%- set keys = [name, group] if group else [name] -%}
{% if is_incremental() %}
last_day as (

    select max(as_of_date) as as_of_date
    from {{ this }}
    where as_of_date < {{ as_of_date() }}

),

members_before as (

    select already.*
    from {{ this }} as already
    inner join last_day
        on already.as_of_date = last_day.as_of_date

),
{% endif %}

-- any few of them, the same ones as long as they are in
ordered as (

    select
        members.*,
        row_number() over (
            partition by {{ keys | join(', ') }}
            order by {{ hashed_id([name, 'member_id']) }}
        ) as sample_order
    from members

),

final as (

    select
        {{ as_of_date() }} as as_of_date,
        {%- for column in keys + ['member_kind', 'member_id', 'customer_id', 'reason'] + more %}
        ordered.{{ column }},
        {%- endfor %}
        {% if is_incremental() %}
        coalesce(members_before.member_since, {{ as_of_date() }}) as member_since,
        {% else %}
        {{ as_of_date() }} as member_since,
        {% endif %}
        ordered.sample_order <= {{ threshold('segment_sample_members') }} as is_sample,
        case
            when ordered.sample_order <= {{ threshold('segment_sample_members') }}
                then {{ dbt.concat(['substring(contacts.email, 1, 1)', "'***@'", email_domain('contacts.email')]) }}
        end as masked_address
    from ordered
    left join contacts
        on
            ordered.member_kind = 'contact'
            and ordered.member_id = contacts.contact_id
    {% if is_incremental() %}
    left join members_before
        on
            ordered.member_id = members_before.member_id
            {%- for column in keys %}
            and ordered.{{ column }} = members_before.{{ column }}
            {%- endfor %}
    where not exists (select 1 from {{ this }} as later where later.as_of_date > {{ as_of_date() }})
    {% endif %}

)
{%- endmacro %}

{# Leaves of such a table the last day built and the one before. #}
{% macro keep_two_days(relation) -%}
    delete from {{ relation }} where as_of_date < (
        select coalesce(max(members.as_of_date), {{ as_of_date() }})
        from {{ relation }} as members
        where members.as_of_date < {{ as_of_date() }}
    )
{%- endmacro %}
