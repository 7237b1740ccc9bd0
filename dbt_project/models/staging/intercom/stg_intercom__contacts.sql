with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('intercom', 'contact_history', [
        'id',
        'external_id',
        'email',
        'name',
        'role',
        'unsubscribed_from_emails',
        'created_at',
        'updated_at',
        '_fivetran_active',
    ], optional=true) }}
    where coalesce({{ true_or_false('_fivetran_active') }}, true)

),

admins as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('intercom', 'admin', ['id', 'email', 'name'], optional=true) }}

),

renamed as (

    select
        ---------- ids
        cast(id as {{ dbt.type_string() }}) as intercom_contact_id,
        cast(external_id as {{ dbt.type_string() }}) as user_id,
        ---------- attributes
        {{ normalised_email('email') }} as email,
        name as full_name,
        role,
        {{ asked_to_stop('unsubscribed_from_emails') }} as has_opted_out,
        ---------- timestamps
        {{ utc_timestamp('created_at') }} as created_at,
        {{ utc_timestamp('updated_at') }} as updated_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and not _is_deleted
        and id is not null

    union all

    select
        cast(id as {{ dbt.type_string() }}) as intercom_contact_id,
        cast(null as {{ dbt.type_string() }}) as user_id,
        {{ normalised_email('email') }} as email,
        name as full_name,
        'admin' as role,
        false as has_opted_out,
        cast(null as {{ dbt.type_timestamp() }}) as created_at,
        cast(null as {{ dbt.type_timestamp() }}) as updated_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from admins
    where
        load_rank = 1
        and not _is_deleted
        and id is not null

),

known as (

    select *
    from renamed
    where
        {{ not_after_clock('created_at') }}
        or role = 'admin'

)

select * from known
