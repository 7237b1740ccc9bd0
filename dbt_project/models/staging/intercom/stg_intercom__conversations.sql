with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('intercom', 'conversation_history', [
        'id',
        'state',
        'priority',
        'source_subject',
        'source_author_id',
        'source_author_type',
        'conversation_rating_value',
        'conversation_rating_created_at',
        'created_at',
        'updated_at',
        '_fivetran_active',
    ], optional=true) }}
    where coalesce({{ true_or_false('_fivetran_active') }}, true)

),

parts as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('intercom', 'conversation_part_history', [
        'id',
        'conversation_id',
        'part_type',
        'author_type',
        'body',
        'created_at',
        '_fivetran_active',
    ], optional=true) }}
    where coalesce({{ true_or_false('_fivetran_active') }}, true)

),

memberships as (

    select
        *,
        {{ load_rank(['contact_id'], '_landed_at') }} as load_rank
    from {{ landed('intercom', 'contact_company_history', [
        'contact_id',
        'company_id',
        '_fivetran_active',
    ], optional=true) }}
    where coalesce({{ true_or_false('_fivetran_active') }}, true)

),

-- the first words of a teammate; when it was closed last; every opening again
turns as (

    select
        conversation_id,
        min(case when author_type = 'admin' and body is not null and part_type <> 'note' then {{ utc_timestamp('created_at') }} end)
            as first_reply_at,
        max(case when part_type = 'close' then {{ utc_timestamp('created_at') }} end) as solved_at,
        sum(case when part_type = 'open' then 1 else 0 end) as reopenings
    from parts
    where
        load_rank = 1
        and {{ utc_timestamp('created_at') }} <= {{ as_of_at() }}
    group by conversation_id

),

renamed as (

    select
        ---------- ids
        cast(source.id as {{ dbt.type_string() }}) as ticket_id,
        cast(source.source_author_id as {{ dbt.type_string() }}) as requester_id,
        cast(memberships.company_id as {{ dbt.type_string() }}) as intercom_company_id,
        ---------- attributes
        source.source_subject as subject,
        case source.state
            when 'closed' then 'closed'
            when 'snoozed' then 'hold'
            else 'open'
        end as status,
        -- Intercom knows neither kind nor mood
        cast(null as {{ dbt.type_string() }}) as ticket_kind,
        case when source.priority = 'priority' then 'high' else 'normal' end as priority,
        cast(null as {{ dbt.type_string() }}) as sentiment,
        {{ whole_number('source.conversation_rating_value') }} as rating,
        coalesce(turns.reopenings, 0) as reopenings,
        ---------- timestamps
        {{ utc_timestamp('source.conversation_rating_created_at') }} as rated_at,
        turns.first_reply_at,
        turns.solved_at,
        {{ utc_timestamp('source.created_at') }} as created_at,
        {{ utc_timestamp('source.updated_at') }} as updated_at,
        {{ utc_timestamp('source._landed_at') }} as loaded_at
    from source
    left join turns
        on source.id = turns.conversation_id
    left join memberships
        on
            source.source_author_id = memberships.contact_id
            and memberships.load_rank = 1
    where
        source.load_rank = 1
        and not source._is_deleted
        and source.id is not null
        -- what a teammate or a bot began is a message, not a question
        and coalesce(source.source_author_type, 'user') in ('user', 'lead', 'contact')

),

known as (

    select *
    from renamed
    where created_at <= {{ as_of_at() }}

)

select * from known
