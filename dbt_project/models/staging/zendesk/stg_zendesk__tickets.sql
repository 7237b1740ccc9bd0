with

source as (

    select
        *,
        {{ load_rank('id', ['_landed_at', 'updated_at'], ties=['status', 'requester_id', 'organization_id']) }} as load_rank
    from {{ zendesk('ticket') }}

),

renamed as (

    select
        ---------- ids
        cast(id as {{ dbt.type_string() }}) as ticket_id,
        cast(requester_id as {{ dbt.type_string() }}) as requester_id,
        cast(organization_id as {{ dbt.type_string() }}) as zendesk_organization_id,
        ---------- attributes
        subject,
        coalesce(lower(status), 'open') as status,
        type as ticket_kind,
        priority,
        ---------- timestamps
        coalesce({{ utc_timestamp('created_at') }}, {{ utc_timestamp('updated_at') }}) as created_at,
        {{ utc_timestamp('updated_at') }} as updated_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and not _is_deleted
        and id is not null

),

known as (

    select *
    from renamed
    where
        created_at <= {{ as_of_at() }}
        and status <> 'deleted'

)

select * from known
