-- Who is in each segment and why, in one table: today, and on the last day built before, with which sizes compare it.
-- Its key and its groups are read from its meta.sync. A day is not written again once a later one stands.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='as_of_date',
    full_refresh=false,
    on_schema_change='append_new_columns',
    post_hook="delete from {{ this }} where as_of_date < (
        select coalesce(max(members.as_of_date), {{ as_of_date() }})
        from {{ this }} as members
        where members.as_of_date < {{ as_of_date() }}
    )",
) }}

with

{% for segment in var('segments') %}
{{ segment }} as (

    select * from {{ ref('seg_' ~ segment) }}

),

{% endfor %}
contacts as (

    select * from {{ ref('contacts') }}

),

members as (

    {% for segment in var('segments') %}
    {% set sync = graph.nodes['model.customer_success.seg_' ~ segment].config.meta.sync if graph else {'key': 'contact_id'} %}
    select
        '{{ segment }}' as segment_name,
        {{ sync.group_key or "''" }} as segment_group,
        {{ sync.key }} as member_id,
        '{{ sync.object or "contact" }}' as member_kind,
        customer_id,
        reason
    from {{ segment }}
    {% if not loop.last %}

    union all

    {% endif %}
    {% endfor %}

),

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
            partition by segment_name, segment_group
            order by {{ hashed_id(['segment_name', 'member_id']) }}
        ) as sample_order
    from members

),

final as (

    select
        {{ as_of_date() }} as as_of_date,
        ordered.segment_name,
        ordered.segment_group,
        ordered.member_kind,
        ordered.member_id,
        ordered.customer_id,
        ordered.reason,
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
            ordered.segment_name = members_before.segment_name
            and ordered.segment_group = members_before.segment_group
            and ordered.member_id = members_before.member_id
    where not exists (select 1 from {{ this }} as later where later.as_of_date > {{ as_of_date() }})
    {% endif %}

)

select * from final
